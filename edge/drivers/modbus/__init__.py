"""Modbus TCP: what may be configured, which requests are made, what their bytes mean, the link."""
