"""Settings and addresses: every fault named, with its place and the way out."""

import pytest

from contract.model.config import ConfigurationError
from contract.model.signal import DataType, OpenFields
from edge.drivers import load, names, parse_address, parse_settings, schemas
from edge.drivers.driver import ConfigError
from edge.drivers.modbus.driver import Modbus
from edge.drivers.modbus.settings import Address, Settings


def faults(address: OpenFields, type_: DataType = DataType.FLOAT, *, writable: bool = False) -> list[str]:
    try:
        parse_address("modbus", address, type_, writable=writable, path="$.signals.pump-3.address")
    except ConfigurationError as err:
        return [str(fault) for fault in err.faults]
    return []


def test_drivers_are_found_by_name() -> None:
    assert load("modbus") is Modbus
    assert {"modbus", "simulation"} <= set(names())
    with pytest.raises(ConfigError, match="no driver 'modbuss'; there are modbus, opcua, simulation"):
        load("modbuss")


def test_a_register_beyond_the_end_is_named_with_place_value_and_way_out() -> None:
    assert faults({"register": 70000}) == [
        (
            "$.signals.pump-3.address.register: 70000 is greater than the maximum of 65535"
            "; see docs/drivers/modbus.md"
        )
    ]


def test_all_faults_are_named_at_once() -> None:
    found = faults({"register": -1, "table": "holdings", "type": "int17", "unit": 256, "what": 1})
    assert {f.split(":")[0].rpartition(".")[2] for f in found} == {
        "address",
        "register",
        "table",
        "type",
        "unit",
    }


@pytest.mark.parametrize(
    ("address", "type_", "writable", "words"),
    [
        ({"register": 65535, "type": "int32"}, DataType.FLOAT, False, "ends at 65536, beyond 65535"),
        ({"register": 1, "table": "coil", "type": "int16"}, DataType.FLOAT, False, "is one bit"),
        ({"register": 1, "table": "coil", "bit": 3}, DataType.BOOLEAN, False, "leave bit out"),
        ({"register": 1, "type": "bool"}, DataType.BOOLEAN, False, "needs bit, 0-15"),
        ({"register": 1, "bit": 3}, DataType.FLOAT, False, "say type bool"),
        ({"register": 1, "type": "text"}, DataType.TEXT, False, "needs length"),
        ({"register": 1, "length": 2}, DataType.FLOAT, False, "has no length"),
        ({"register": 1, "type": "text", "length": 124}, DataType.TEXT, True, "123 can be written"),
        ({"register": 1, "type": "text", "length": 2, "order": "CDAB"}, DataType.TEXT, False, "ABCD or BADC"),
        ({"register": 1, "table": "input"}, DataType.FLOAT, True, "cannot be written"),
        ({"register": 1, "type": "float32"}, DataType.INTEGER, False, "would be float"),
        ({"register": 1, "type": "int16"}, DataType.BOOLEAN, False, "would be integer or float"),
        ({"register": 1, "type": "int16"}, DataType.TEXT, False, "cannot carry a signal of type text"),
        ({"register": 1, "type": "text", "length": 2}, DataType.FLOAT, False, "would be text"),
    ],
)
def test_fields_that_do_not_go_together(
    address: OpenFields, type_: DataType, writable: bool, words: str
) -> None:
    found = faults(address, type_, writable=writable)
    assert len(found) == 1
    assert words in found[0]
    assert found[0].startswith("$.signals.pump-3.address.")


@pytest.mark.parametrize(
    ("address", "type_", "writable"),
    [
        ({"register": 65535}, DataType.FLOAT, True),
        ({"register": 65534, "type": "float32"}, DataType.FLOAT, True),
        ({"register": 0, "table": "coil"}, DataType.BOOLEAN, True),
        ({"register": 0, "table": "discrete"}, DataType.INTEGER, False),
        ({"register": 0, "type": "bool", "bit": 15}, DataType.BOOLEAN, True),
        ({"register": 0, "type": "text", "length": 8, "order": "BADC", "unit": 0}, DataType.TEXT, True),
        ({"register": 0, "table": "input", "type": "uint64"}, DataType.INTEGER, False),
    ],
)
def test_what_is_well(address: OpenFields, type_: DataType, writable: bool) -> None:
    assert faults(address, type_, writable=writable) == []


def test_settings_have_defaults_and_bounds() -> None:
    assert parse_settings("modbus", {"host": "plc"}) == Settings(host="plc")
    with pytest.raises(ConfigurationError) as caught:
        parse_settings("modbus", {"port": 0, "max_registers": 126}, "$.devices.plc.settings")
    assert [f.path for f in caught.value.faults] == [
        "$.devices.plc.settings",
        "$.devices.plc.settings.max_registers",
        "$.devices.plc.settings.port",
    ]


def test_the_schema_carries_the_help() -> None:
    schema = schemas("modbus")["settings"]["$defs"]["Settings"]["properties"]
    assert all(field.get("description") for field in schema.values())
    schema = schemas("modbus")["address"]["$defs"]["Address"]["properties"]
    assert set(schema) == set(Address.__struct_fields__)
    assert all(field.get("description") for field in schema.values())
