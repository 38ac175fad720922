"""When an acknowledgement is sent, and sent again. Pure, time is given."""

from typing import Final

AGAIN_FIRST_S: Final = 5.0
"""An answer comes within a second; a gateway whose card hesitates takes longer."""
AGAIN_LONGEST_S: Final = 60.0


def again_after_s(times: int) -> float:
    """How long to wait for an answer before sending again what was sent so often."""
    return min(AGAIN_LONGEST_S, AGAIN_FIRST_S * 2.0 ** min(times - 1, 10))
