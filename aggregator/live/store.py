"""SQL that `live` asks of main.db beyond what gateways and alarms offer, and its audit rows."""

from collections.abc import Sequence

from sqlalchemy import select, true

from aggregator.db import audit
from aggregator.db.engine import Connection
from aggregator.db.schema import gateway
from aggregator.scope import Right, Scope, needs


@needs(Right.VIEW)
def applied(scope: Scope, connection: Connection, gateway_ids: Sequence[str]) -> dict[str, bytes]:
    """The configuration in force of each of these gateways, as it was stored; some have none yet."""
    g = gateway.c
    in_sites = true() if scope.sites is None else g.site.in_(sorted(scope.sites))
    query = select(g.id, g.applied).where(
        g.tenant_id == scope.tenant, in_sites, g.id.in_(list(gateway_ids)), g.applied.is_not(None)
    )
    return {str(row.id): bytes(row.applied) for row in connection.execute(query)}


@needs(Right.COMMAND)
def note_write(
    scope: Scope, connection: Connection, time_us: int, step: str, subject: str, before: str, after: str
) -> None:
    """One row of the audit trail about a write: that it was asked for, or what became of it."""
    audit.note(scope, connection, time_us, f"write.{step}", subject, before=before, after=after)
