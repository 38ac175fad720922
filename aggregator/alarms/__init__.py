"""The journal of all gateways and the list of alarms derived from it."""
