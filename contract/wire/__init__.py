"""What travels between gateway and centre: topics, envelope, records, receipts, commands, status."""
