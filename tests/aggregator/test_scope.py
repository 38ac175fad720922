"""Deny by default: no store function does anything for a scope that lacks its right."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import aggregator
from aggregator.scope import NOBODY, Forbidden, Right, Scope, process

UNGUARDED = {
    # adds to the audit trail what a guarded function did, in its transaction
    "aggregator.db.audit.note",
    "aggregator.alarms.wishes.store.note",
    # arithmetic, no database
    "aggregator.history.store.rows.to_signed",
    "aggregator.history.store.rows.to_unsigned",
    # words of a statement, no database
    "aggregator.history.store.rows.group_is",
    "aggregator.history.store.rows.group_key",
    "aggregator.history.store.rows.is_this",
    "aggregator.history.store.rows.of_this",
    "aggregator.history.store.rows.of_this_group",
}


def store_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for found in pkgutil.walk_packages(aggregator.__path__, "aggregator."):
        if not (found.name.endswith((".store", "aggregator.db.audit")) or ".store." in found.name):
            continue
        module = importlib.import_module(found.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{module.__name__}.{name}", function


FUNCTIONS = dict(store_functions())


def test_the_walk_finds_the_stores() -> None:
    modules = {name.rpartition(".")[0] for name in FUNCTIONS}
    assert modules >= {
        "aggregator.alarms.store",
        "aggregator.gateways.store",
        "aggregator.history.store.segments",
        "aggregator.history.store.tail",
        "aggregator.ingest.store",
        "aggregator.db.audit",
    }
    assert len(FUNCTIONS) > 30


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - UNGUARDED))
def test_a_scope_without_the_right_is_refused_before_anything_happens(name: str) -> None:
    function = FUNCTIONS[name]
    parameters = list(inspect.signature(function).parameters.values())
    assert parameters[0].name.lstrip("_") == "scope"
    required = [p for p in parameters[1:] if p.default is p.empty]
    positional = [None for p in required if p.kind is not p.KEYWORD_ONLY]
    named = {p.name: None for p in required if p.kind is p.KEYWORD_ONLY}
    with pytest.raises(Forbidden):
        function(NOBODY, *positional, **named)


def test_only_processes_for_all_tenants_may_change_tenant() -> None:
    ingest = process("_ingest", [Right.INGEST])
    assert ingest.of_tenant("other").tenant == "other"
    person = Scope("default", None, frozenset({Right.VIEW, Right.AUDIT, Right.COMMAND}), "ada")
    with pytest.raises(Forbidden, match="may not leave"):
        person.of_tenant("other")


def test_a_refusal_names_who_and_what() -> None:
    with pytest.raises(Forbidden, match="ada lacks the right 'command'"):
        Scope("default", None, frozenset({Right.VIEW}), "ada").require(Right.COMMAND)
