"""OPC UA: values pushed by a server's subscriptions. User's view: docs/drivers/opcua.md."""
