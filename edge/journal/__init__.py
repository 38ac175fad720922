"""The gateway's own store of events: numbered rows, checksummed, kept until receipted."""
