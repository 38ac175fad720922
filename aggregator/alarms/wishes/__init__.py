"""What operators here acknowledge, until the gateway's own event is there."""
