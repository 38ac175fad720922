"""What pages ask about ingest: what is in quarantine."""

from aggregator.db.engine import Databases, reading
from aggregator.ingest import store
from aggregator.ingest.store import Quarantined
from aggregator.scope import Scope
from contract.wire.records import Lane


def quarantined(scope: Scope, databases: Databases) -> list[Quarantined]:
    """What could not be taken of the tenant's gateways, both databases."""
    found: list[Quarantined] = []
    for lane, engine in ((Lane.EVENT, databases.main), (Lane.SEGMENT, databases.history)):
        with reading(engine) as connection:
            found += store.quarantined(scope, connection, lane)
    return found
