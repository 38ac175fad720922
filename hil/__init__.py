"""The plants that stand in for the field: recorded ones replayed, and a counting one that is the oracle.

This package stands outside the product: it imports nothing of `edge`, `aggregator` or
`contract`, and they import nothing of it. See `hil/README.md`.
"""
