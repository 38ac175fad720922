"""What edge and aggregator agree on, to the bit. Pure: no I/O, no clock, nothing of either side."""
