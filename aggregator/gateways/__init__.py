"""Gateways, their signals, and which signal is which number in which store."""
