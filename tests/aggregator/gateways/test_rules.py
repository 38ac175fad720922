from typing import Any

import pytest
from fakes.centre import document

from aggregator.gateways.rules import names_of_groups, step_of
from contract.model.config import Configuration, parse


def with_target(**said: Any) -> Configuration:
    whole = document()
    whole["signals"]["roof.target"] |= said
    return parse(whole)


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ({"scaling": {"divisor": 10}}, 0.1),
        ({"scaling": {"factor": -5, "divisor": 2}}, 2.5),
        ({"type": "integer"}, 1.0),
        ({"type": "integer", "scaling": {"factor": 50}}, 50.0),
        ({}, None),  # a float as it is in the device
        ({"scaling": {"offset": 3}}, None),
        ({"scaling": {"factor": 0}}, None),
        ({"type": "boolean", "limits": {}}, None),
        ({"type": "text", "limits": {}}, None),
        ({"scaling": {"divisor": 10}, "writable": False}, None),
    ],
)
def test_a_set_point_has_the_steps_of_its_register(said: dict[str, Any], step: float | None) -> None:
    assert step_of(with_target(**said), "roof.target") == step


def test_a_signal_or_a_gateway_that_nobody_configured_has_no_steps() -> None:
    assert step_of(with_target(), "roof.other") is None
    assert step_of(None, "roof.target") is None
    assert names_of_groups(None) == {}


def test_a_group_without_a_name_is_called_by_its_uid() -> None:
    whole = document()
    whole["groups"]["roof.slow"]["name"] = "Sollwerte"
    assert names_of_groups(parse(whole)) == {"roof.fast": "roof.fast", "roof.slow": "Sollwerte"}
