"""HTTP: the gate, one live page, the API, the socket. What they show comes from `live` and `history`."""
