"""Each driver has its page; each field is on it; its examples are well."""

import json
import re
from pathlib import Path

import pytest

from contract.model.signal import DataType
from edge.drivers import DRIVERS, load, parse_address, parse_settings

DOCS = Path(__file__).parents[3] / "docs" / "drivers"


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_every_field_is_explained(driver: str) -> None:
    page = (DOCS / f"{driver}.md").read_text(encoding="utf-8")
    kind = load(driver)
    for field in (*kind.Settings.__struct_fields__, *kind.Address.__struct_fields__):
        assert f"| `{field}` |" in page, field


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_the_example_is_well(driver: str) -> None:
    page = (DOCS / f"{driver}.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    document = json.loads("{" + example + "}")
    for device in document["devices"].values():
        parse_settings(device["driver"], device["settings"])
    for signal in document["signals"].values():
        assert signal["group"] in document["groups"]
        type_ = DataType(signal.get("type", "float"))
        parse_address(driver, signal["address"], type_, writable=signal.get("writable", False))
