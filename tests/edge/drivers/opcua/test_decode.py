"""Variants to values and back; StatusCodes to qualities, by the library's own table."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua

from contract.model.batch import Value
from contract.model.quality import STATUS_CODES, Quality, from_status_code
from contract.model.signal import DataType
from edge.drivers.opcua.decode import Mismatch, encode, quality_of, value_of

V = ua.VariantType
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

NAMES = {
    Quality.GOOD: "Good",
    Quality.GOOD_LOCAL_OVERRIDE: "GoodLocalOverride",
    Quality.GOOD_CLAMPED: "GoodClamped",
    Quality.GOOD_RECORDED: "Good",
    Quality.UNCERTAIN: "Uncertain",
    Quality.UNCERTAIN_LAST_USABLE: "UncertainLastUsableValue",
    Quality.UNCERTAIN_SENSOR_NOT_ACCURATE: "UncertainSensorNotAccurate",
    Quality.UNCERTAIN_OUT_OF_RANGE: "UncertainEngineeringUnitsExceeded",
    Quality.UNCERTAIN_INITIAL: "UncertainInitialValue",
    Quality.UNCERTAIN_SUB_NORMAL: "UncertainSubNormal",
    Quality.UNCERTAIN_TIME: "Uncertain",
    Quality.BAD: "Bad",
    Quality.BAD_NO_COMMUNICATION: "BadNoCommunication",
    Quality.BAD_NOT_CONNECTED: "BadNotConnected",
    Quality.BAD_DEVICE_FAILURE: "BadDeviceFailure",
    Quality.BAD_SENSOR_FAILURE: "BadSensorFailure",
    Quality.BAD_OUT_OF_SERVICE: "BadOutOfService",
    Quality.BAD_WAITING_FOR_INITIAL_DATA: "BadWaitingForInitialData",
    Quality.BAD_TIMEOUT: "BadTimeout",
    Quality.BAD_ADDRESS: "BadNodeIdUnknown",
    Quality.BAD_TYPE_MISMATCH: "BadTypeMismatch",
    Quality.BAD_OUT_OF_RANGE: "BadOutOfRange",
    Quality.BAD_CONFIGURATION: "BadConfigurationError",
    Quality.BAD_NOT_RUNNING: "BadServerNotConnected",
    Quality.BAD_STORAGE: "BadResourceUnavailable",
}


def test_our_status_codes_are_those_of_the_standard() -> None:
    assert set(NAMES) == set(Quality) == set(STATUS_CODES)
    for quality, name in NAMES.items():
        assert STATUS_CODES[quality] == getattr(ua.StatusCodes, name), name


def test_every_status_code_of_the_standard_keeps_its_family() -> None:
    codes = {name: code for name, code in vars(ua.StatusCodes).items() if isinstance(code, int)}
    assert len(codes) > 200
    for name, code in codes.items():
        family = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)[code >> 30]
        assert quality_of(code) & 0xC0 == family, name
        assert from_status_code(code) & 0xC0 == family, name


@pytest.mark.parametrize(
    ("name", "quality"),
    [
        ("BadNodeIdInvalid", Quality.BAD_ADDRESS),
        ("BadAttributeIdInvalid", Quality.BAD_ADDRESS),
        ("BadNotReadable", Quality.BAD_CONFIGURATION),
        ("BadUserAccessDenied", Quality.BAD_CONFIGURATION),
        ("BadSensorFailure", Quality.BAD_SENSOR_FAILURE),
        ("BadInternalError", Quality.BAD),
    ],
)
def test_what_somebody_has_to_put_right_is_told_apart(name: str, quality: Quality) -> None:
    assert quality_of(getattr(ua.StatusCodes, name)) is quality
    assert quality_of(getattr(ua.StatusCodes, name) | 0x480) is quality  # info bits change no reason


@pytest.mark.parametrize(
    ("value", "kind", "type_", "expected"),
    [
        (2**63 - 1, V.Int64, DataType.INTEGER, 2**63 - 1),
        (-(2**63), V.Int64, DataType.INTEGER, -(2**63)),
        (7.0, V.Double, DataType.INTEGER, 7),
        (True, V.Boolean, DataType.INTEGER, 1),
        (NEW_YEAR, V.DateTime, DataType.INTEGER, 1_767_225_600_000_000),
        (5, V.Byte, DataType.FLOAT, 5.0),
        (True, V.Boolean, DataType.FLOAT, 1.0),
        (1, V.Byte, DataType.BOOLEAN, True),
        (ua.LocalizedText("an"), V.LocalizedText, DataType.TEXT, "an"),
        (NEW_YEAR, V.DateTime, DataType.TEXT, "2026-01-01T00:00:00Z"),
        (None, V.Null, DataType.FLOAT, None),
    ],
)
def test_a_value_of_another_type_that_means_the_same(
    value: Any, kind: ua.VariantType, type_: DataType, expected: Value | None
) -> None:
    found = value_of(ua.Variant(value, kind), type_, None)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "type_", "index"),
    [
        (7.5, V.Double, DataType.INTEGER, None),
        (1e300, V.Double, DataType.INTEGER, None),
        (2, V.Byte, DataType.BOOLEAN, None),
        ("1", V.String, DataType.FLOAT, None),
        (1.0, V.Double, DataType.TEXT, None),
        (math.nan, V.Double, DataType.FLOAT, None),
        (math.inf, V.Float, DataType.FLOAT, None),
        (b"12", V.ByteString, DataType.FLOAT, 0),
        ([1.0, 2.0], V.Double, DataType.FLOAT, None),
        ([1.0, 2.0], V.Double, DataType.FLOAT, 2),
        (1.0, V.Double, DataType.FLOAT, 0),
    ],
)
def test_what_is_no_such_value(value: Any, kind: ua.VariantType, type_: DataType, index: int | None) -> None:
    with pytest.raises(Mismatch):
        value_of(ua.Variant(value, kind), type_, index)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (255, V.Byte, 255),
        (-128, V.SByte, -128),
        (2**64 - 1, V.UInt64, 2**64 - 1),
        (21.000000001, V.Int16, 21),  # what unscaling leaves over
        (1, V.Boolean, True),
        (3, V.Double, 3.0),
        ("an", V.String, "an"),
    ],
)
def test_what_is_written_has_the_type_of_the_node(
    value: Value, kind: ua.VariantType, expected: Value
) -> None:
    variant = encode(value, kind)
    assert (variant.Value, variant.VariantType) == (expected, kind)
    assert type(variant.Value) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (256, V.Byte),
        (-1, V.UInt32),
        (2**63, V.Int64),
        (1.4, V.Int32),
        (math.inf, V.Int32),
        (3.5e38, V.Float),
        (2, V.Boolean),
        ("1", V.Int16),
        ("1", V.Double),
        (1, V.String),
        (1, V.Guid),
    ],
)
def test_what_does_not_fit_is_refused(value: Value, kind: ua.VariantType) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(value, kind)
