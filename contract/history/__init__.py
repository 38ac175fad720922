"""What stored samples say over time: points for drawing."""
