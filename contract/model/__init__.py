"""What a signal, a sample, a message and a configuration are, on both sides."""
