from typing import Any

import pytest
from fakes.centre import now_us

from aggregator.web.overview import ASKED_MAX
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind

S = 1_000_000


def get(site: Any, path: str = "overview", status: int = 200, **arguments: Any) -> Any:
    answer = site.app.test_client().get(f"/api/v1/{path}", query_string=arguments, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer.json


def hear(site: Any, said: Any) -> None:
    site.here.say(said)
    site.live.heard(topics.up(said.gateway, said.lane), pack(said.message), retained=False)


def test_a_gateway_tells_its_figures(site: Any) -> None:
    hear(
        site,
        site.roof.status(
            unsent_events=2, unsent_segments=3, reach_s=86_400.0, rss_bytes=5, lost_device="plc"
        ),
    )
    said = get(site)["gateways"]["solar-roof"]
    assert (said["unsent_events"], said["unsent_segments"], said["reach_s"]) == (2, 3, 86_400.0)
    assert (said["rss_bytes"], said["devices"], said["has_health"]) == (5, 1, True)
    assert abs(said["tail_us"] - now_us()) < 60 * S
    assert abs(said["clock_offset_us"]) < 10 * S
    assert said["alarms"] == {}


def test_what_a_gateway_said_before_this_server_began_is_told_from_the_database(empty_site: Any) -> None:
    for said in (empty_site.roof.birth(), empty_site.roof.applied(), empty_site.roof.status(unsent_events=7)):
        empty_site.here.say(said)  # taken in, and not heard by this process
    found = get(empty_site)["gateways"]["solar-roof"]
    assert (found["unsent_events"], found["has_health"]) == (7, True)
    assert (found["tail_us"], found["clock_offset_us"], found["cpu_share"]) == (None, None, None)


def test_alarms_are_counted_by_priority(site: Any) -> None:
    at = now_us()
    for message, priority in (("hot", 1), ("full", 2), ("odd", 2)):
        hear(site, site.roof.event(EventKind.RAISED, message, at, text=message, priority=priority))
    hear(site, site.roof.event(EventKind.ACKNOWLEDGED, "odd", at, actor="anna"))
    hear(site, site.roof.event(EventKind.ENDED, "full", at, time_us=at + S))
    assert get(site)["gateways"]["solar-roof"]["alarms"] == {"1": [1, 1], "2": [1, 1]}


def test_the_last_messages_of_those_that_are_asked_for(site: Any) -> None:
    at = now_us()
    for i in range(5):
        hear(site, site.roof.event(EventKind.RAISED, f"m{i}", at + i, text=f"Meldung {i}", priority=3))
    said = get(site, "overview/messages", gateway=["solar-roof", "nobody"])
    assert [one["text"] for one in said["solar-roof"]] == ["Meldung 4", "Meldung 3", "Meldung 2"]
    assert said["nobody"] == []
    assert get(site, "overview/messages") == {}


def test_nobody_asks_for_the_messages_of_a_thousand_gateways(site: Any) -> None:
    said = get(site, "overview/messages", 400, gateway=[f"g{i}" for i in range(ASKED_MAX + 1)])
    assert said["error"]["parameter"] == "gateway"


@pytest.mark.parametrize("path", ["overview", "overview/messages"])
def test_a_stranger_learns_nothing(site: Any, path: str) -> None:
    assert site.app.test_client().get(f"/api/v1/{path}").status_code == 401
