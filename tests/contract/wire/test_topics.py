"""The MQTT tree: built and parsed alike, and nothing else is parsed."""

import pytest

from contract.wire.topics import ALL_UP, CHANGED, Down, Up, UpTopic, all_down, down, parse_down, parse_up, up


@pytest.mark.parametrize("lane", Up)
def test_up_and_back(lane: Up) -> None:
    assert up("gw-1", lane) == f"fw/1/gw-1/up/{lane.value}"
    assert parse_up(up("gw-1", lane)) == UpTopic("gw-1", lane)
    assert parse_down(up("gw-1", lane)) is None


@pytest.mark.parametrize("lane", Down)
def test_down_and_back(lane: Down) -> None:
    assert down("gw-1", lane) == f"fw/1/gw-1/down/{lane.value}"
    assert parse_down(down("gw-1", lane)) is lane
    assert parse_up(down("gw-1", lane)) is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "fw/1",
        "fw/1/gw/up",
        "fw/1/gw/up/",
        "fw/1/gw/up/tail/more",
        "fw/2/gw/up/tail",
        "xx/1/gw/up/tail",
        "fw/1/gw/up/unheard",
        "fw/1/gw/sideways/tail",
        "/fw/1/gw/up/tail",
        "fw/1/gw/up/TAIL",
        CHANGED,
        "$SYS/broker/uptime",
    ],
)
def test_what_is_not_ours_is_nothing(topic: str) -> None:
    assert parse_up(topic) is None
    assert parse_down(topic) is None
    assert parse_down(topic.replace("/up/", "/down/")) is None


def test_subscriptions() -> None:
    assert ALL_UP == "fw/1/+/up/#"
    assert all_down("gw-1") == "fw/1/gw-1/down/#"
    assert not CHANGED.startswith("fw/")  # no gateway's certificate reaches it
