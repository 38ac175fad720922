"""Accounts: who may come in, by which proof, with which rights, for how long.

`rules` decides (names, passwords, roles, limits) and knows no clock; `store` keeps; `passwords`
hashes; `service` is what the web's doors and `command` (`python -m aggregator user`) ask. Pages and
cookies are in `aggregator.web`.
"""
