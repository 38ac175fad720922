"""Curves as an answer: bytes for a page's typed arrays, or JSON. docs/history-api.md draws the bytes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np

from aggregator.gateways.store import SignalRow
from aggregator.history.rules import carried
from aggregator.history.trend import Curve
from contract.history.decimate import HOLE

MAGIC: Final = b"FWT1"
ALIGNED: Final = 8


def as_bytes(
    from_us: int, to_us: int, points: int, curves: Mapping[str, Curve], named: Mapping[str, SignalRow]
) -> Iterator[bytes]:
    """Magic, length of the head, the head, then three columns per signal, each at a multiple of 8."""
    size = 0
    said: list[dict[str, Any]] = []
    for uid, curve in curves.items():
        count = len(curve.time_us)
        places = {"time": size, "values": size + 8 * count, "quality": size + 16 * count}
        size += 16 * count + _padded(count)
        said.append(_told(uid, curve, named.get(uid)) | {"at": places})
    head = msgspec.json.encode({"from_us": from_us, "to_us": to_us, "points": points, "signals": said})
    head += b" " * (_padded(len(head)) - len(head))
    yield MAGIC + len(head).to_bytes(4, "little") + head
    for curve in curves.values():
        count = len(curve.time_us)
        yield (curve.time_us / 1000).astype("<f8").tobytes()
        yield curve.values.astype("<f8", copy=False).tobytes()
        yield curve.quality.tobytes() + bytes(_padded(count) - count)


def as_json(
    from_us: int, to_us: int, points: int, curves: Mapping[str, Curve], named: Mapping[str, SignalRow]
) -> bytes:
    """The same for a script: what is no number is null."""
    said = [
        _told(uid, curve, named.get(uid))
        | {
            "time_us": curve.time_us.tolist(),
            "values": [value if np.isfinite(value) else None for value in curve.values.tolist()],
            "quality": curve.quality.tolist(),
        }
        for uid, curve in curves.items()
    ]
    return msgspec.json.encode({"from_us": from_us, "to_us": to_us, "points": points, "signals": said})


def briefly(from_us: int, to_us: int, curves: Mapping[str, Curve]) -> bytes:
    """Curves without their stories, for lists."""
    said = {
        uid: {
            "is_held": curve.is_held,
            "before": _before(curve),
            "time_us": curve.time_us.tolist(),
            "values": [value if np.isfinite(value) else None for value in curve.values.tolist()],
            "quality": curve.quality.tolist(),
        }
        | ({"texts": curve.texts} if curve.texts else {})
        for uid, curve in curves.items()
        if curve.before is not None or len(curve.time_us)
    }
    return msgspec.json.encode({"from_us": from_us, "to_us": to_us, "signals": said})


def _padded(size: int) -> int:
    return -size // ALIGNED * -ALIGNED


def _told(uid: str, curve: Curve, row: SignalRow | None) -> dict[str, Any]:
    return {
        "uid": uid,
        "name": uid if row is None else row.name,
        "unit": "" if row is None else row.unit,
        "type": "" if row is None else row.type,
        "is_held": curve.is_held,
        "count": len(curve.time_us),
        "samples": curve.samples,
        "is_reduced": bool(curve.coarse_us) or curve.samples > int((curve.quality != HOLE).sum()),
        "coarse_us": curve.coarse_us,
        "before": _before(curve),
        "missing": [gap._asdict() for gap in curve.missing],
        "texts": curve.texts,
        "exact": curve.exact,
    }


def _before(curve: Curve) -> list[Any] | None:
    before = curve.before
    return None if before is None else [before.time_us, carried(before.value), before.quality]
