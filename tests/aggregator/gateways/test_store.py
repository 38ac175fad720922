"""Which number is which signal: for ever within a store, and over moves between gateways."""

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from aggregator.db.engine import Databases, reading, writing
from aggregator.gateways import store
from aggregator.gateways.service import gateways, in_force, present_numbers, signals
from aggregator.gateways.store import NumberTaken
from aggregator.scope import Right, process
from contract.model.config import Configuration, Device, Gateway, Group
from contract.model.message import Condition, Message
from contract.model.signal import Limits, Signal
from contract.wire.status import Applied, Birth, GroupEpoch, SignalNumber

INGEST = process("_ingest", [Right.INGEST])
VIEW = process("ada", [Right.VIEW, Right.AUDIT])


def birth(
    gateway: str, numbers: dict[int, str], *, number: int = 1, time_us: int = 100, epoch: int = 1
) -> Birth:
    return Birth(
        gateway=gateway,
        store=number,
        session=1,
        boot="1",
        time_us=time_us,
        lanes={},
        signals=tuple(SignalNumber(n, uid) for n, uid in numbers.items()),
        groups=(GroupEpoch(0, "g", epoch),),
    )


def put(databases: Databases, *births: Birth, now_us: int = 1) -> None:
    for one in births:
        with writing(databases.main) as connection:
            store.put_birth(INGEST, connection, one, now_us)


def bound(databases: Databases, uid: str) -> list[tuple[str, int, int, int | None]]:
    with reading(databases.main) as connection:
        return [(b.gateway, b.store, b.number, b.to_us) for b in store.bindings(VIEW, connection, [uid])]


def actions(databases: Databases) -> list[tuple[str, str]]:
    with reading(databases.main) as connection:
        rows = connection.execute(text("SELECT action, subject FROM audit ORDER BY id")).all()
    return [(row.action, row.subject) for row in rows if row.action.startswith("signal.")]


def test_rename_reorder_and_insert_keep_each_number_with_its_signal(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1", 2: "t2"}), birth("a", {3: "new", 2: "t2", 1: "t1"}))
    assert bound(databases, "t1") == [("a", 1, 1, None)]
    assert bound(databases, "new") == [("a", 1, 3, None)]


def test_a_number_is_never_given_to_another_signal(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}))
    with pytest.raises(NumberTaken, match="gave number 1 to 't1', now to 't2'"):
        put(databases, birth("a", {1: "t2"}))
    with pytest.raises(NumberTaken, match="group number 0"):
        put(databases, replace(birth("a", {}), groups=(GroupEpoch(0, "other", 1),)))
    assert bound(databases, "t1") == [("a", 1, 1, None)]


def test_a_new_store_of_the_same_gateway_adds_to_the_old_one(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {7: "t1"}, number=2))
    assert bound(databases, "t1") == [("a", 1, 1, None), ("a", 2, 7, None)]
    assert [(b.uid, b.store, b.number) for b in present_numbers(VIEW, databases)] == [("t1", 2, 7)]


def test_no_gateway_takes_a_signal_that_another_one_lists(databases: Databases) -> None:
    put(
        databases,
        birth("a", {1: "t1"}),
        birth("b", {5: "t1"}, time_us=500),
        birth("b", {5: "t1"}, time_us=600),
    )
    assert bound(databases, "t1") == [("a", 1, 1, None), ("b", 1, 5, 0)]
    assert actions(databases) == [("signal.claimed-by-two", "t1 b")]


def test_a_signal_goes_to_the_claimant_when_its_holder_no_longer_lists_it(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("b", {5: "t1"}, time_us=500), birth("a", {}, time_us=700))
    assert bound(databases, "t1") == [("a", 1, 1, 700), ("b", 1, 5, None)]
    assert actions(databases)[-1] == ("signal.moved", "t1 b")


def test_a_signal_moves_to_the_gateway_that_lists_it_after_the_other_let_it_go(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}, time_us=400), birth("b", {5: "t1"}, time_us=500))
    assert bound(databases, "t1") == [("a", 1, 1, 500), ("b", 1, 5, None)]
    assert actions(databases) == [("signal.moved", "t1 b")]


def test_a_signal_left_behind_in_an_old_store_is_held_by_nobody(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}, number=2, time_us=400))
    put(databases, birth("b", {5: "t1"}, time_us=500))
    assert bound(databases, "t1") == [("a", 1, 1, 500), ("b", 1, 5, None)]


HOUR = 3600 * 1_000_000
NOW = 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("said", "trusted", "ends"),
    [
        (NOW - 60_000_000, True, NOW - 60_000_000),
        (NOW - HOUR, True, NOW - HOUR),
        (NOW + HOUR, True, NOW + HOUR),
        (NOW - 60_000_000, False, NOW),
        (NOW - HOUR - 1, True, NOW),
        (NOW + HOUR + 1, True, NOW),
        (5_000_000, True, NOW),
    ],
)
def test_a_claimant_with_a_wrong_clock_hides_nothing_of_the_others_past(
    databases: Databases, said: int, trusted: bool, ends: int
) -> None:
    put(databases, birth("a", {1: "t1"}, time_us=NOW - 9 * HOUR), now_us=NOW - 9 * HOUR)
    put(databases, birth("a", {}, time_us=NOW - 8 * HOUR), now_us=NOW - 8 * HOUR)
    put(databases, replace(birth("b", {5: "t1"}, time_us=said), clock_trusted=trusted), now_us=NOW)
    assert bound(databases, "t1") == [("a", 1, 1, ends), ("b", 1, 5, None)]


def test_a_restart_takes_no_signal_back_and_the_quarrel_is_noted_once(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}), birth("b", {5: "t1"}, time_us=500))
    put(databases, birth("a", {1: "t1"}, time_us=600), birth("a", {1: "t1"}, time_us=700))
    assert bound(databases, "t1") == [("a", 1, 1, 500), ("b", 1, 5, None)]
    assert actions(databases) == [("signal.moved", "t1 b"), ("signal.claimed-by-two", "t1 a")]


def test_a_signal_moves_back_when_the_other_no_longer_lists_it(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}), birth("b", {5: "t1"}, time_us=500))
    put(databases, birth("b", {}, time_us=600), birth("a", {1: "t1"}, time_us=700))
    assert bound(databases, "t1") == [("a", 1, 1, None), ("b", 1, 5, 700)]


def test_a_signal_left_out_for_a_while_loses_nothing(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}, time_us=200), birth("a", {1: "t1"}, time_us=300))
    assert bound(databases, "t1") == [("a", 1, 1, None)]


def test_tenants_do_not_share_signals(databases: Databases) -> None:
    with writing(databases.main) as connection:
        connection.execute(text("INSERT INTO tenant VALUES ('other', '')"))
        store.put_birth(INGEST.of_tenant("other"), connection, birth("b", {5: "t1"}), 1)
    put(databases, birth("a", {1: "t1"}))
    assert bound(databases, "t1") == [("a", 1, 1, None)]
    with reading(databases.main) as connection:
        assert store.tenants(INGEST, connection, ["a", "b", "c"]) == {"a": "default", "b": "other"}
    assert [g.id for g in gateways(VIEW, databases)] == ["a"]


def applied(gateway: str, signals_said: dict[str, Signal], *, site: str = "") -> Applied:
    configuration = Configuration(
        format=1,
        gateway=Gateway(id=gateway, site=site),
        devices={"d": Device(driver="simulation")},
        groups={"g": Group(device="d")},
        signals=signals_said,
        messages={"m": Message(number=1, text="hot", any_of=((Condition("t1", ">", 1.0),),))},
    )
    return Applied(gateway=gateway, time_us=1, digest="", configuration=configuration)


def put_applied(databases: Databases, one: Applied, digest: str) -> None:
    with writing(databases.main) as connection:
        store.put_applied(INGEST, connection, one, digest, msgspec.json.encode(one.configuration), 1)


def test_only_the_gateway_that_has_a_signal_names_it(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("a", {}), birth("b", {5: "t1"}, time_us=500))
    put_applied(databases, applied("b", {"t1": Signal(group="g", name="Flow", unit="°C")}), "1")
    put_applied(databases, applied("a", {"t1": Signal(group="g", name="Old")}), "2")
    assert [(s.name, s.unit, s.gateway) for s in signals(VIEW, databases)] == [("Flow", "°C", "b")]


def named(databases: Databases) -> list[tuple[str, str, float | None, str]]:
    return [(s.name, s.unit, s.high, s.gateway) for s in signals(VIEW, databases)]


def test_a_signal_that_moved_is_called_what_its_new_gateway_calls_it(databases: Databases) -> None:
    """Each gateway says its configuration first, then its birth, and says both again at each session."""
    ours = applied("a", {"t1": Signal(group="g", name="Flow", unit="°C")})
    theirs = applied("b", {"t1": Signal(group="g", name="Vorlauf", unit="°F", limits=Limits(high=200.0))})
    put_applied(databases, ours, "1")
    put(databases, birth("a", {1: "t1"}))
    put_applied(databases, theirs, "2")
    assert named(databases) == [("Flow", "°C", None, "a")]
    put(databases, birth("b", {5: "t1"}))
    assert named(databases) == [("Flow", "°C", None, "a")]
    put(databases, birth("a", {}))
    assert named(databases) == [("Vorlauf", "°F", 200.0, "b")]
    put_applied(databases, ours, "1")
    put(databases, birth("a", {1: "t1"}))
    assert named(databases) == [("Vorlauf", "°F", 200.0, "b")]
    put(databases, birth("b", {}), birth("a", {1: "t1"}))
    assert named(databases) == [("Flow", "°C", None, "a")]


def test_a_move_changes_what_moved_and_nothing_beside_it(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1", 2: "t2"}))
    put_applied(databases, applied("a", {uid: Signal(group="g", name="A") for uid in ("t1", "t2")}), "1")
    put_applied(databases, applied("b", {uid: Signal(group="g", name="B") for uid in ("t1", "t2")}), "2")
    put(databases, birth("a", {2: "t2"}), birth("b", {5: "t1"}))
    assert {(s.uid, s.name, s.gateway) for s in signals(VIEW, databases)} == {
        ("t1", "B", "b"),
        ("t2", "A", "a"),
    }


def test_a_stored_document_that_cannot_be_read_any_more_is_taken_anew(databases: Databases) -> None:
    theirs = applied("b", {"t1": Signal(group="g", name="B")})
    put(databases, birth("a", {1: "t1"}))
    put_applied(databases, applied("a", {"t1": Signal(group="g", name="A")}), "1")
    put_applied(databases, theirs, "2")
    with writing(databases.main) as connection:
        connection.execute(text("UPDATE gateway SET applied = x'7b7d' WHERE id = 'b'"))
    put(databases, birth("a", {}), birth("b", {5: "t1"}))
    put_applied(databases, theirs, "2")
    assert [(s.name, s.gateway) for s in signals(VIEW, databases)] == [("B", "b")]


def test_a_renamed_signal_keeps_its_place_and_its_limits_are_known(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1", 2: "t2"}))
    put_applied(databases, applied("a", {"t1": Signal(group="g"), "t2": Signal(group="g")}), "1")
    limited = Signal(group="g", name="Set point", writable=True, limits=Limits(1.0, 2.0))
    put_applied(databases, applied("a", {"t2": limited, "t1": Signal(group="g")}), "2")
    assert [(s.uid, s.name, s.low, s.high) for s in signals(VIEW, databases)] == [
        ("t2", "Set point", 1.0, 2.0),
        ("t1", "t1", None, None),
    ]
    assert [s.uid for s in signals(VIEW, databases, ["t1"])] == ["t1"]


def test_sites_bound_what_a_scope_sees(databases: Databases) -> None:
    put(databases, birth("a", {1: "t1"}), birth("b", {1: "u1"}))
    put_applied(databases, applied("a", {"t1": Signal(group="g")}, site="North"), "1")
    put_applied(databases, applied("b", {"u1": Signal(group="g")}, site="South"), "1")
    north = VIEW._replace(sites=frozenset({"North"}))
    assert [g.id for g in gateways(north, databases)] == ["a"]
    assert [s.uid for s in signals(north, databases)] == ["t1"]
    assert [b.uid for b in present_numbers(north, databases)] == ["t1"]
    assert gateways(VIEW._replace(sites=frozenset()), databases) == []


def test_a_refused_configuration_is_told_with_its_faults_beside_the_one_in_force(
    databases: Databases,
) -> None:
    ours = applied("a", {"t1": Signal(group="g", name="Flow")})
    put_applied(databases, ours, "1")
    refused = msgspec.structs.replace(
        ours,
        time_us=7,
        refused="the newest one was refused",
        faults=("$.groups.g: no\nsuch device", "$.x: y"),
    )
    put_applied(databases, refused, "1")
    found = in_force(VIEW, databases, "a")
    assert found is not None
    assert (found.digest, found.applied_us, found.refused) == ("1", 7, "the newest one was refused")
    assert found.faults == ["$.groups.g: no such device", "$.x: y"]
    assert found.document == msgspec.json.encode(ours.configuration)
    put_applied(databases, ours, "1")
    again = in_force(VIEW, databases, "a")
    assert again is not None
    assert (again.refused, again.faults) == ("", [])


def test_a_gateway_of_another_tenant_or_site_shows_no_configuration(databases: Databases) -> None:
    put_applied(databases, applied("a", {}, site="north"), "1")
    assert in_force(VIEW._replace(tenant="other"), databases, "a") is None
    assert in_force(VIEW._replace(sites=frozenset({"south"})), databases, "a") is None
    assert in_force(VIEW._replace(sites=frozenset({"north"})), databases, "a") is not None
    assert in_force(VIEW, databases, "b") is None
