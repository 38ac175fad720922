"""Identities on the broker: two authorities, their certificates and revocations.

`certificates` builds them and knows no files; `folder` keeps them in `<data>/pki/`; `command` is
`python -m aggregator pki`. What a name may do on the broker is said in `aggregator.broker`.
"""
