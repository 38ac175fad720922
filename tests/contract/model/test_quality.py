"""Qualities against OPC UA's own table of status codes, typed from the standard."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.quality import STATUS_CODES, Quality, from_status_code, good_rows, is_good, is_usable

# Name and value of the StatusCodes used here. Source: OPC 10000-6 (UA Part 6), Annex A.2, StatusCode.csv.
STANDARD = {
    "Good": 0x00000000,
    "GoodLocalOverride": 0x00960000,
    "GoodClamped": 0x00300000,
    "Uncertain": 0x40000000,
    "UncertainLastUsableValue": 0x40900000,
    "UncertainSensorNotAccurate": 0x40930000,
    "UncertainEngineeringUnitsExceeded": 0x40940000,
    "UncertainInitialValue": 0x40920000,
    "UncertainSubNormal": 0x40950000,
    "Bad": 0x80000000,
    "BadNoCommunication": 0x80310000,
    "BadNotConnected": 0x808A0000,
    "BadDeviceFailure": 0x808B0000,
    "BadSensorFailure": 0x808C0000,
    "BadOutOfService": 0x808D0000,
    "BadWaitingForInitialData": 0x80320000,
    "BadTimeout": 0x800A0000,
    "BadNodeIdUnknown": 0x80340000,
    "BadTypeMismatch": 0x80740000,
    "BadOutOfRange": 0x803C0000,
    "BadConfigurationError": 0x80890000,
    "BadServerNotConnected": 0x800D0000,
    "BadResourceUnavailable": 0x80040000,
}
EXPECTED = {
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


def test_every_quality_has_its_code_in_the_standard() -> None:
    assert set(EXPECTED) == set(Quality) == set(STATUS_CODES)
    assert {q: STATUS_CODES[q] for q in Quality} == {q: STANDARD[name] for q, name in EXPECTED.items()}


@pytest.mark.parametrize("quality", Quality)
def test_the_family_bits_are_the_severity_of_the_status_code(quality: Quality) -> None:
    assert quality >> 6 == STATUS_CODES[quality] >> 30


@pytest.mark.parametrize("quality", Quality)
def test_a_code_comes_back_as_the_quality_it_came_from(quality: Quality) -> None:
    shared = {Quality.UNCERTAIN_TIME: Quality.UNCERTAIN, Quality.GOOD_RECORDED: Quality.GOOD}
    expected = shared.get(quality, quality)
    assert from_status_code(STATUS_CODES[quality]) is expected
    assert from_status_code(STATUS_CODES[quality] | 0x0481) is expected  # info bits


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (0x002D0000, Quality.GOOD),  # GoodSubscriptionTransferred
        (0x406C0000, Quality.UNCERTAIN),  # UncertainDataSubNormal's neighbours have no reason here
        (0x80010000, Quality.BAD),  # BadUnexpectedError
        (0xC0000000, Quality.BAD),  # the fourth severity is reserved
        (0xFFFFFFFF, Quality.BAD),
    ],
)
def test_a_reason_unknown_here_keeps_its_family(code: int, family: Quality) -> None:
    assert from_status_code(code) is family


@given(st.integers(0, 2**32 - 1))
def test_any_code_gets_a_quality_of_its_family(code: int) -> None:
    quality = from_status_code(code)
    assert quality >> 6 == min(code >> 30, 2)


@pytest.mark.parametrize("quality", Quality)
def test_families(quality: Quality) -> None:
    assert is_good(quality) == quality.name.startswith("GOOD")
    assert is_usable(quality) == (not quality.name.startswith("BAD"))


def test_families_as_columns() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert good_rows(every).tolist() == [q < 64 for q in range(256)]
