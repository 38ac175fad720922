"""Quality of a sample: one byte, a family in the two upper bits and a reason below.

The family bits are those of an IEC 62541 StatusCode's severity, so a comparison with
`UNCERTAIN` and `BAD` sorts by family. `STATUS_CODES` gives the exact StatusCode for
OPC UA. Anything that sets a quality takes it from here; nothing invents a number.
"""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

FAMILY_MASK: Final = 0xC0


class Quality(IntEnum):
    """Why a value may or may not be trusted. Below 64 good, below 128 uncertain, else bad."""

    GOOD = 0x00
    GOOD_LOCAL_OVERRIDE = 0x01
    GOOD_CLAMPED = 0x02
    GOOD_RECORDED = 0x03
    UNCERTAIN = 0x40
    UNCERTAIN_LAST_USABLE = 0x41
    UNCERTAIN_SENSOR_NOT_ACCURATE = 0x42
    UNCERTAIN_OUT_OF_RANGE = 0x43
    UNCERTAIN_INITIAL = 0x44
    UNCERTAIN_SUB_NORMAL = 0x45
    UNCERTAIN_TIME = 0x46
    BAD = 0x80
    BAD_NO_COMMUNICATION = 0x81
    BAD_NOT_CONNECTED = 0x82
    BAD_DEVICE_FAILURE = 0x83
    BAD_SENSOR_FAILURE = 0x84
    BAD_OUT_OF_SERVICE = 0x85
    BAD_WAITING_FOR_INITIAL_DATA = 0x86
    BAD_TIMEOUT = 0x87
    BAD_ADDRESS = 0x88
    BAD_TYPE_MISMATCH = 0x89
    BAD_OUT_OF_RANGE = 0x8A
    BAD_CONFIGURATION = 0x8B
    BAD_NOT_RUNNING = 0x8C
    BAD_STORAGE = 0x8D


STATUS_CODES: Final[dict[Quality, int]] = {
    Quality.GOOD: 0x00000000,  # Good
    Quality.GOOD_LOCAL_OVERRIDE: 0x00960000,  # GoodLocalOverride
    Quality.GOOD_CLAMPED: 0x00300000,  # GoodClamped
    Quality.GOOD_RECORDED: 0x00000000,  # Good: imported from a recording; IEC 62541 has no code for that
    Quality.UNCERTAIN: 0x40000000,  # Uncertain
    Quality.UNCERTAIN_LAST_USABLE: 0x40900000,  # UncertainLastUsableValue
    Quality.UNCERTAIN_SENSOR_NOT_ACCURATE: 0x40930000,  # UncertainSensorNotAccurate
    Quality.UNCERTAIN_OUT_OF_RANGE: 0x40940000,  # UncertainEngineeringUnitsExceeded
    Quality.UNCERTAIN_INITIAL: 0x40920000,  # UncertainInitialValue
    Quality.UNCERTAIN_SUB_NORMAL: 0x40950000,  # UncertainSubNormal
    Quality.UNCERTAIN_TIME: 0x40000000,  # Uncertain: IEC 62541 has no code for a doubtful stamp
    Quality.BAD: 0x80000000,  # Bad
    Quality.BAD_NO_COMMUNICATION: 0x80310000,  # BadNoCommunication
    Quality.BAD_NOT_CONNECTED: 0x808A0000,  # BadNotConnected
    Quality.BAD_DEVICE_FAILURE: 0x808B0000,  # BadDeviceFailure
    Quality.BAD_SENSOR_FAILURE: 0x808C0000,  # BadSensorFailure
    Quality.BAD_OUT_OF_SERVICE: 0x808D0000,  # BadOutOfService
    Quality.BAD_WAITING_FOR_INITIAL_DATA: 0x80320000,  # BadWaitingForInitialData
    Quality.BAD_TIMEOUT: 0x800A0000,  # BadTimeout
    Quality.BAD_ADDRESS: 0x80340000,  # BadNodeIdUnknown
    Quality.BAD_TYPE_MISMATCH: 0x80740000,  # BadTypeMismatch
    Quality.BAD_OUT_OF_RANGE: 0x803C0000,  # BadOutOfRange
    Quality.BAD_CONFIGURATION: 0x80890000,  # BadConfigurationError
    Quality.BAD_NOT_RUNNING: 0x800D0000,  # BadServerNotConnected: the gateway itself stood still
    Quality.BAD_STORAGE: 0x80040000,  # BadResourceUnavailable
}
"""StatusCode of each quality. Source: OPC 10000-6 (IEC 62541-6) Annex A, table of StatusCodes."""


def is_good(quality: int) -> bool:
    """True for every code of the good family."""
    return quality < Quality.UNCERTAIN


def is_usable(quality: int) -> bool:
    """True for good and uncertain codes: there is a value, trusted or not."""
    return quality < Quality.BAD


def good_rows(quality: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Mask of the rows whose quality is of the good family."""
    return quality < np.uint8(Quality.UNCERTAIN)


def from_status_code(code: int) -> Quality:
    """The quality nearest to an IEC 62541 StatusCode: the exact reason, else its family.

    Info bits (the lower 16) do not change the reason and are ignored.
    """
    reason = _BY_STATUS_CODE.get(code & 0xFFFF0000)
    if reason is not None:
        return reason
    return (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[code >> 30 & 3]


_BY_STATUS_CODE: Final = {code: quality for quality, code in reversed(STATUS_CODES.items())}
