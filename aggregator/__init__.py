"""The server: collects from the gateways, shows, calls people and governs."""
