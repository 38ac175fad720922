"""What pages ask about gateways and signals, each in one reading of main.db."""

from collections.abc import Sequence

from aggregator.db.engine import Databases, reading
from aggregator.gateways import store
from aggregator.gateways.store import Binding, Gateway, InForce, SignalRow
from aggregator.scope import Scope


def gateways(scope: Scope, databases: Databases) -> list[Gateway]:
    """Gateways of the scope, by id, with what they last said of themselves."""
    with reading(databases.main) as connection:
        return store.gateways(scope, connection)


def signals(scope: Scope, databases: Databases, uids: Sequence[str] | None = None) -> list[SignalRow]:
    """Signals of the scope with names and units; all of them if no uids are given."""
    with reading(databases.main) as connection:
        return store.signals(scope, connection, uids)


def present_numbers(scope: Scope, databases: Databases) -> list[Binding]:
    """Which (gateway, store, number) each signal is now; live values come by these."""
    with reading(databases.main) as connection:
        return store.present_numbers(scope, connection)


def in_force(scope: Scope, databases: Databases, gateway_id: str) -> InForce | None:
    """The configuration of a gateway, and why a newer one was refused; None: no such gateway."""
    with reading(databases.main) as connection:
        return store.in_force(scope, connection, gateway_id)
