"""Child processes that end with us: `child` runs one, `launch` is what each passes through.

Who is started, in which order and how often again is decided in `aggregator.serve`.
"""
