"""From a raw reading to a kept sample: scaling, range, deadband, the plan of a group. Pure."""
