"""When a message is raised, acknowledged and ended: the same machine at the gateway and in rehearsal."""
