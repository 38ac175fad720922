"""The segment: one acquisition group over one window of time, packed once, read in parts.

Unit of storage, transfer and query; `head` and `body` are stored apart and sent as one message.
layout: constants, records, errors. encode: packing. decode: reading. digest: proof of sameness.
"""
