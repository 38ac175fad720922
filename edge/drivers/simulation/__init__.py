"""A device that is not there: recordings replayed, simple functions of time, values in memory."""
