"""Samples of the past: segments as they came, and the tail until its segment arrives."""
