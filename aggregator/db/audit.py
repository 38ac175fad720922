"""The audit trail: who changed what, when, from which value to which. Rows are only ever added.

Written in the transaction of the change itself, so that neither is there without the other.
"""

from sqlalchemy import select

from aggregator.db.engine import Connection, Row
from aggregator.db.schema import audit
from aggregator.scope import Right, Scope, needs


def note(
    scope: Scope,
    connection: Connection,
    time_us: int,
    action: str,
    subject: str,
    *,
    before: str = "",
    after: str = "",
) -> None:
    """Add one row to main.db; needs no right of its own, the change it speaks of did."""
    connection.execute(
        audit.insert().values(
            tenant_id=scope.tenant,
            time_us=time_us,
            actor=scope.actor[:200],
            action=action[:64],
            subject=subject[:400],
            before=before,
            after=after,
        )
    )


@needs(Right.AUDIT)
def rows(scope: Scope, connection: Connection, limit: int = 100) -> list[Row[tuple[object, ...]]]:
    """Newest rows of the tenant first."""
    return list(
        connection.execute(
            select(audit).where(audit.c.tenant_id == scope.tenant).order_by(audit.c.id.desc()).limit(limit)
        )
    )


@needs(Right.INGEST)
def has(scope: Scope, connection: Connection, action: str, subject: str) -> bool:
    """Whether this was noted before; for messages that may come twice."""
    query = select(audit.c.id).where(
        audit.c.tenant_id == scope.tenant, audit.c.subject == subject[:400], audit.c.action == action[:64]
    )
    return connection.execute(query.limit(1)).first() is not None
