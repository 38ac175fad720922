"""A gateway with a valid certificate that means harm: bombs, giants, a storm of flipped bits.

All of it ends in quarantine or at the broker; ingest stays the same process, of bounded size, and the
neighbour's values arrive as ever.
"""

import asyncio
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import msgspec
import pytest
import zstandard
from fakes.broker import HOST
from fakes.gateway import FakeGateway, Sent
from fakes.processes import wait_until
from fault.proof import all_arrives
from fault.rig import Rig, now_us, running_rig

from contract.segment.layout import MAGIC, PREAMBLE, VERSION
from contract.wire import topics
from contract.wire.envelope import pack, unpack
from contract.wire.records import SegmentRecord, Tail
from contract.wire.status import SignalNumber
from contract.wire.topics import Up

pytestmark = pytest.mark.fault

EVIL = "gw-evil"
STORM = 3000
INGEST_RSS_MAX = 400 * 1024 * 1024


def zeros(size: int) -> bytes:
    """A frame that unpacks to that many bytes and does not say so."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def bomb_segment(seq: int, record: SegmentRecord, frame: bytes) -> SegmentRecord:
    """A segment whose head is a bomb and whose checksums are right."""
    start = PREAMBLE.pack(MAGIC, VERSION, 0, len(frame), 0)
    crc = zlib.crc32(start[8:] + frame, zlib.crc32(start[:4]))
    head = PREAMBLE.pack(MAGIC, VERSION, crc, len(frame), 0) + frame
    return msgspec.structs.replace(record, seq=seq, blob=head, head_bytes=len(head))


def bombs(record: SegmentRecord, tail: Tail) -> Iterator[Sent]:
    bomb = zeros(1 << 30)
    assert len(bomb) < 200_000
    replace = msgspec.structs.replace
    for seq, frame in enumerate((bomb, bomb[4:], zstandard.ZstdCompressor().compress(bytes(1 << 28))), 900):
        yield Sent(topics.up(EVIL, Up.SEGMENT), pack(bomb_segment(seq, record, frame)))
        yield Sent(topics.up(EVIL, Up.TAIL), pack(replace(tail, columns=frame)))
        yield Sent(topics.up(EVIL, Up.TAIL), pack(replace(tail, columns=frame, rows=1)))
    giant = replace(record, seq=910, blob=record.blob + bytes(4 * 1024 * 1024))
    yield Sent(topics.up(EVIL, Up.SEGMENT), pack(giant))
    deep = b"\x91" * 1_000_000  # a list in a list in a list …
    for lane in Up:
        yield Sent(topics.up(EVIL, lane), b"\x01" + struct.pack(">I", zlib.crc32(deep)) + deep)


def storm(valid: list[Sent], rng: random.Random) -> Iterator[Sent]:
    """Valid messages with bits flipped; every other one with the envelope's checksum put right again."""
    for i in range(STORM):
        topic, payload = rng.choice(valid)
        data = bytearray(payload)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(5 if i % 2 else 0, len(data))] ^= 1 << rng.randrange(8)
        if i % 2:
            data[1:5] = struct.pack(">I", zlib.crc32(data[5:]))
        yield Sent(topic, bytes(data))


async def send(rig: Rig, messages: Iterator[Sent]) -> None:
    """Publish as a real client with the evil gateway's own certificate; come back when thrown out."""
    context = rig.broker.context(rig.broker.issue(EVIL))
    waiting = list(messages)
    while waiting:
        try:
            async with aiomqtt.Client(
                HOST, rig.broker.gateway_port, identifier=EVIL, tls_context=context,
                protocol=aiomqtt.ProtocolVersion.V5,
            ) as client:  # fmt: skip
                while waiting:
                    await client.publish(waiting[0].topic, waiting[0].payload, qos=1)
                    waiting.pop(0)
        except aiomqtt.MqttError:
            await asyncio.sleep(0.1)


async def send_too_large(rig: Rig) -> bool:
    """Whether the broker takes 200 MB and keeps the link; past the library, which would not send it."""
    context = rig.broker.context(rig.broker.issue(EVIL))
    reader, writer = await asyncio.open_connection(HOST, rig.broker.gateway_port, ssl=context)
    client = struct.pack(">H", len(EVIL)) + EVIL.encode()
    connect = b"\0\4MQTT\x05\x02\0\x3c\0" + client  # MQTT 5.0, 3.1
    topic = topics.up(EVIL, Up.SEGMENT).encode()
    size = 200 * 1024 * 1024
    length, left = bytearray(), size + 2 + len(topic) + 1
    while left:
        left, byte = left >> 7, left & 0x7F
        length.append(byte | (0x80 if left else 0))
    try:
        writer.write(bytes((0x10, len(connect))) + connect)
        await reader.readexactly(4)
        writer.write(b"\x30" + bytes(length) + struct.pack(">H", len(topic)) + topic + b"\0")
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
            await writer.drain()
        async with asyncio.timeout(10):
            await reader.read()  # until it hangs up
    except (OSError, EOFError):
        return False
    except TimeoutError:
        return True
    else:
        return False
    finally:
        writer.transport.abort()


def rss_peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def test_bombs_giants_and_flipped_bits_of_a_valid_gateway_disturb_nobody(tmp_path: Path) -> None:
    rng = random.Random(5)
    with running_rig(tmp_path, rng) as rig:
        rig.start()
        ingest, broker = rig.ingest.pid, rig.broker.pid
        evil = FakeGateway(EVIL, seed=5)
        tails = evil.record(0, 40)
        segment = evil.seal(0)
        assert segment is not None
        valid = [
            evil.send(Up.BIRTH, evil.birth()),
            evil.send(Up.SEGMENT, segment),
            *(evil.send(Up.TAIL, tail) for tail in tails[:3]),
        ]
        asyncio.run(send(rig, iter(valid)))
        asyncio.run(send(rig, bombs(unpack(valid[1].payload, SegmentRecord), tails[0])))
        assert not asyncio.run(send_too_large(rig))
        asyncio.run(send(rig, storm(valid, rng)))
        all_arrives(rig)
        assert (rig.ingest.is_running, rig.ingest.pid, rig.broker.pid) == (True, ingest, broker)
        assert rig.broker.process is not None
        assert rig.broker.process.poll() is None
        assert rss_peak(ingest) < INGEST_RSS_MAX
        findings = rig.verify_centre()
        assert [one for one in findings if one["gravity"] == "damage"] == []
        quarantine = [one for one in findings if one["where"].startswith("quarantine")]
        assert {one["gateway"] for one in quarantine} == {EVIL}
        lanes = {one["where"].rpartition("/up/")[2] for one in quarantine if "/up/" in one["where"]}
        assert lanes == set(Up)


def test_a_gateway_that_claims_the_signals_of_another_gets_none_of_them(tmp_path: Path) -> None:
    with running_rig(tmp_path, random.Random(5)) as rig:
        rig.start()
        birth = msgspec.structs.replace(
            FakeGateway(EVIL).birth(), time_us=now_us(), signals=(SignalNumber(1, "fast.0"),)
        )
        asyncio.run(send(rig, iter([Sent(topics.up(EVIL, Up.BIRTH), pack(birth))])))
        served = rig.served.read_bytes().count(b"\n")
        wait_until(lambda: rig.served.read_bytes().count(b"\n") > served + 30, "more is served")
        all_arrives(rig, timeout_s=10.0)
