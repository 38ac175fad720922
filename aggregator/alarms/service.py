"""What pages ask about alarms and events, each in one reading of main.db."""

from aggregator.alarms import store
from aggregator.alarms.store import Alarm, StoredEvent
from aggregator.db.engine import Databases, reading
from aggregator.scope import Scope


def current(scope: Scope, databases: Databases, limit: int = 1000) -> list[Alarm]:
    """Alarms that stand, and those over that still ask for an acknowledgement; newest first."""
    with reading(databases.main) as connection:
        return store.current(scope, connection, limit)


def events(
    scope: Scope,
    databases: Databases,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    gateway_id: str | None = None,
    limit: int = 1000,
) -> list[StoredEvent]:
    """Events in from_us…to_us, newest first."""
    with reading(databases.main) as connection:
        return store.events(
            scope, connection, from_us=from_us, to_us=to_us, gateway_id=gateway_id, limit=limit
        )
