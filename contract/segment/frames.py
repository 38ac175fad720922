"""Numbers as bytes and back: byte planes, zstd frames, pcodec streams.

Nothing here knows what the numbers mean. Sizes are known to the caller and checked before anything is
unpacked. Errors of the libraries end here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard
from pcodec import standalone

from contract.segment.layout import HEAD_MAX, Damaged

_ZSTD_MAGIC = zstandard.FRAME_HEADER
_WINDOW_MAX = 1 << 27


def byte_planes(numbers: npt.NDArray[Any]) -> bytes:
    """Little-endian numbers, all lowest bytes first, then all second bytes and so on."""
    width = numbers.dtype.itemsize
    if width == 1:
        return numbers.tobytes()
    little = np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False))
    return little.view(np.uint8).reshape(-1, width).T.tobytes()


def unframe(packed: bytes, size: int, part: str) -> bytes:
    """Content of a zstd frame without its magic number.

    Args:
        packed: the frame.
        size: what its content must be long; -1: anything up to HEAD_MAX.
        part: who asks, for the message.

    Raises:
        Damaged: no frame, or one of another size; found out before it is unpacked.
    """
    whole = _ZSTD_MAGIC + packed
    try:
        stated = zstandard.get_frame_parameters(whole)
        limit = HEAD_MAX if size < 0 else size
        if stated.content_size > limit or (size >= 0 and stated.content_size != size):
            raise Damaged(f"{part}: would unpack to {stated.content_size} bytes, not {limit}")
        if stated.dict_id or stated.window_size > _WINDOW_MAX:
            raise Damaged(f"{part}: a zstd frame of a kind that segments do not use")
        content = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).decompress(
            whole, max_output_size=stated.content_size, allow_extra_data=False
        )
    except zstandard.ZstdError as err:
        raise Damaged(f"{part}: {err}") from err
    if len(content) != stated.content_size:
        raise Damaged(f"{part}: unpacks to {len(content)} bytes, expected {stated.content_size}")
    return content


def unpcodec(block: bytes, values: npt.NDArray[Any], part: str) -> None:
    """Fill `values` from a pcodec stream, which must hold exactly as many of their type, or raise Damaged."""
    try:
        progress = standalone.simple_decompress_into(block, values)
    except (RuntimeError, TypeError, ValueError) as err:
        raise Damaged(f"{part}: {err}") from err
    except BaseException as err:
        # pcodec is Rust: a panic there is no Exception here, and nothing else about it is special.
        if type(err).__name__ != "PanicException":
            raise
        raise Damaged(f"{part}: {err}") from err
    if progress.n_processed != len(values) or not progress.finished:
        raise Damaged(f"{part}: not {len(values)} numbers")


def from_planes(stream: bytes | memoryview, rows: int, kind: str) -> npt.NDArray[Any]:
    """Numbers of byte planes, as `byte_planes` lays them."""
    width = int(kind[-1])
    flat = np.frombuffer(stream, np.uint8)
    if width == 1:
        return flat.view(kind)
    return np.ascontiguousarray(flat.reshape(width, rows).T).reshape(-1).view(kind)
