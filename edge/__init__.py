"""The gateway daemon: reads the field bus, judges, keeps and sends. The centre is in aggregator/."""
