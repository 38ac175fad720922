"""The way up and down: outbox (what is owed), uplink (the link itself), tail, commands."""
