"""Figures of the shipped daemon at 1000 registers a second, beside the bare loop on the same job.

Both run through the same seconds. Time in the window is taken from the plants' logs (when register
0 was asked for), CPU, memory and bytes from /proc, latency and seals from a subscriber at the
centre's side of the broker.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import numpy as np
from bench.figures import Sheet, period
from bench.rig import CONFIGURATION, Rig, running
from bench.usage import Usage, usage
from fakes.broker import HOST, identity_context

from contract.wire import topics
from contract.wire.envelope import unpack
from contract.wire.records import SegmentRecord, Tail, unpack_tail
from contract.wire.topics import Up
from edge.config import read
from hil.counter import read_log

WARM_UP_S = 20.0
CYCLE_S = 1.0
SIGNALS = 1000
SEAL_AFTER_S = 900.0
BARE = "bare pymodbus + SQLite queue loop"


@dataclass
class Seen:
    """What the centre's side saw in the window."""

    latencies_ms: list[float] = field(default_factory=list)
    segments: list[SegmentRecord] = field(default_factory=list)


@dataclass
class Measured:
    """One process tree over the window."""

    cpu_s: float
    written_bytes: int
    rss_bytes: int
    peak_bytes: int
    polls_us: Sequence[int]


def measure(sheet: Sheet, folder: Path, seconds: float) -> None:
    """Run both for `seconds` after the warm-up, and write the figures."""
    assert read(CONFIGURATION).storage.seal_after_s == SEAL_AFTER_S
    prefilled = max(0, round(SEAL_AFTER_S - WARM_UP_S - seconds / 2))
    with running(folder, prefilled) as (rig, starter):
        ours, bare, seen, elapsed_s = asyncio.run(_window(rig, seconds))
        starter.check()
    _write(sheet, ours, bare, seen, elapsed_s)


async def _window(rig: Rig, seconds: float) -> tuple[Measured, Measured, Seen, float]:
    await asyncio.sleep(WARM_UP_S)
    seen = Seen()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(rig, seen))
        begun, begun_us = time.monotonic(), time.time_ns() // 1000
        before = usage(rig.edge_pid), usage(rig.bare_pid)
        peaks = [before]
        while (left := begun + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(CYCLE_S, left))
            peaks.append((usage(rig.edge_pid), usage(rig.bare_pid)))
        elapsed_s, ended_us = time.monotonic() - begun, time.time_ns() // 1000
        watching.cancel()
    ours, bare = (
        _between(one, log, begun_us, ended_us)
        for one, log in zip(zip(*peaks, strict=True), (rig.served, rig.bare_served), strict=True)
    )
    return ours, bare, seen, elapsed_s


def _between(taken: Sequence[Usage], log: Path, begun_us: int, ended_us: int) -> Measured:
    _, served = read_log(log)
    return Measured(
        cpu_s=taken[-1].cpu_s - taken[0].cpu_s,
        written_bytes=taken[-1].written_bytes - taken[0].written_bytes,
        rss_bytes=max(one.rss_bytes for one in taken),
        peak_bytes=taken[-1].peak_bytes,
        polls_us=[s.time_us for s in served if s.first == 0 and begun_us <= s.time_us < ended_us],
    )


async def _watch(rig: Rig, seen: Seen) -> None:
    """Subscribe as the web process would."""
    context = identity_context(rig.broker.central("_web"))
    async with aiomqtt.Client(
        HOST,
        rig.broker.central_port,
        identifier="_web-bench",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context,
    ) as client:
        for lane in (Up.TAIL, Up.SEGMENT):
            await client.subscribe(topics.up("thousand", lane), qos=1)
        async for message in client.messages:
            now_us = time.time_ns() // 1000
            if str(message.topic) == topics.up("thousand", Up.SEGMENT):
                seen.segments.append(unpack(message.payload, SegmentRecord))
                continue
            times = np.unique(unpack_tail(unpack(message.payload, Tail)).times())
            seen.latencies_ms.extend(((now_us - times) / 1e3).tolist())


def _write(sheet: Sheet, ours: Measured, bare: Measured, seen: Seen, elapsed_s: float) -> None:
    cycles, bare_cycles = len(ours.polls_us), len(bare.polls_us)
    sealed = sum(segment.count for segment in seen.segments)
    told = f"{cycles} cycles of {SIGNALS} registers, 500 messages, TLS; window {elapsed_s:.0f} s"
    seals = f"{len(seen.segments)} seals with {sealed} samples in it, shipped: one per {SEAL_AFTER_S:.0f} s"
    conditions = f"{told}; {seals}"
    cpu, bare_cpu = (100 * one.cpu_s / elapsed_s for one in (ours, bare))
    sheet.put("edge_cpu", cpu, "% of a core", conditions, (BARE, bare_cpu))
    sheet.put("bare_cpu", bare_cpu, "% of a core", told)
    rss, bare_rss = (one.rss_bytes / 1e6 for one in (ours, bare))
    sheet.put("edge_rss", rss, "MB", conditions, (BARE, bare_rss))
    sheet.put("edge_rss_peak", ours.peak_bytes / 1e6, "MB", "highest since the start, with its replay")
    sheet.put("bare_rss", bare_rss, "MB", told)
    evenly, bare_evenly = (period(one.polls_us, CYCLE_S) for one in (ours, bare))
    sheet.put("edge_period_sd", evenly.sd_ms, "ms", conditions, (BARE, bare_evenly.sd_ms))
    sheet.put("edge_period_p99", evenly.p99_ms, "ms", conditions, (BARE, bare_evenly.p99_ms))
    sheet.put("edge_period_worst", evenly.worst_ms, "ms", conditions, (BARE, bare_evenly.worst_ms))
    sheet.put("bare_period_sd", bare_evenly.sd_ms, "ms", told)
    written = ours.written_bytes / (SIGNALS * cycles)
    bare_written = bare.written_bytes / (SIGNALS * bare_cycles)
    sheet.put("edge_written", written, "B/sample", conditions, (BARE, bare_written))
    sheet.put("bare_written", bare_written, "B/sample", told)
    if seen.segments:
        sheet.put("segment_size", _size(seen.segments), "B/sample", "blobs of the seals in the window")
    if seen.latencies_ms:
        p50, p99 = np.quantile(seen.latencies_ms, (0.5, 0.99)).tolist()
        what = "poll stamp to subscriber; " + conditions
        sheet.put("edge_latency", p50, "ms", what)
        sheet.put("edge_latency_p99", p99, "ms", what)


def _size(segments: Sequence[SegmentRecord]) -> float:
    return sum(len(s.blob) for s in segments) / sum(s.count for s in segments)
