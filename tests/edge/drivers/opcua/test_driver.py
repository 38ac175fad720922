"""The driver against a real OPC UA server in a process of its own, over a wire that can be cut."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua.client.ua_session import UaSession
from fakes.broker import free_port
from fakes.cut_wire import Wire, wire_to
from fakes.opcua_server import OTHER, PASSWORD, URI, OpcUaServer, identity

from contract.model.batch import Value
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.clock import Clock
from edge.drivers.driver import (
    AddressError,
    ConfigError,
    ConnectionLost,
    DriverError,
    Point,
    PointGroup,
    WriteRefused,
)
from edge.drivers.opcua import driver as driver_module
from edge.drivers.opcua.driver import OpcUa
from edge.drivers.opcua.settings import Address, Settings

DEADLINE_S = 30.0
TYPES = {
    "Speed": DataType.FLOAT,
    "Single": DataType.FLOAT,
    "Flag": DataType.BOOLEAN,
    "Text": DataType.TEXT,
    "Since": DataType.TEXT,
}


@pytest.fixture(scope="module")
def server() -> Iterator[OpcUaServer]:
    running = OpcUaServer(
        free_port(), many=1000, limits={"MaxMonitoredItemsPerCall": 300, "MaxNodesPerRead": 400}
    )
    running.wait_ready()
    yield running
    running.kill()


def points(*names: str, type_: DataType | None = None) -> PointGroup:
    """A group of nodes of the plant's namespace; a name with = is a whole node id."""
    return PointGroup(
        1,
        "g",
        50_000,
        tuple(
            Point(
                10 + i,
                name,
                type_ or TYPES.get(name, DataType.INTEGER),
                Address(name if "=" in name else f"nsu={URI};s={name}"),
                writable=True,
            )
            for i, name in enumerate(names)
        ),
    )


class Row:
    """One row of a batch."""

    def __init__(self, name: str, time_us: int, value: Value, quality: int) -> None:
        self.name, self.time_us, self.value, self.quality = name, time_us, value, Quality(quality)

    def __repr__(self) -> str:
        return f"{self.name}={self.value} {self.quality.name} @{self.time_us}"


class Listener:
    """Rows of a driver, as they come."""

    def __init__(self, driver: OpcUa, group: PointGroup) -> None:
        self.driver = driver
        self.rows: list[Row] = []
        self.begun = asyncio.Event()
        self._names = {p.signal: p.uid for p in group.points}
        self._types = {p.signal: p.type for p in group.points}

    async def listen(self) -> None:
        async with aclosing(self.driver.readings()) as readings:
            async for batch in readings:
                self.begun.set()
                times, exact = batch.times(), dict(batch.exact)
                for row in range(len(batch)):
                    assert batch.signal is not None
                    signal = int(batch.signal[row])
                    value: Value = exact.get(row, float(batch.value[row]))
                    quality = 0 if batch.quality is None else int(batch.quality[row])
                    self.rows.append(Row(self._names[signal], int(times[row]), value, quality))

    def of(self, name: str) -> list[Row]:
        return [row for row in self.rows if row.name == name]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                assert not self.task.done(), f"{what}: {self.task.exception()!r}"
                await asyncio.sleep(0.01)

    async def until_good(self, *names: str, after: int = 0) -> None:
        def all_good() -> bool:
            return all(any(r.quality is Quality.GOOD for r in self.of(n)[after:]) for n in names)

        await self.until(all_good, f"{names} are good")

    task: "asyncio.Task[None]"


@asynccontextmanager
async def listening(url: str, group: PointGroup, **more: Any) -> AsyncIterator[Listener]:
    fields: dict[str, Any] = {"url": url, "security": "none", "publishing_s": 0.1, "timeout_s": 2.0}
    settings = Settings(**fields | more)
    driver = OpcUa(settings, [group], Clock())
    listener = Listener(driver, group)
    try:
        await driver.__aenter__()
        listener.task = asyncio.create_task(listener.listen())
        try:
            await listener.until(listener.begun.is_set, "the first batch")
            yield listener
        finally:
            listener.task.cancel()
            await asyncio.gather(listener.task, return_exceptions=True)
    finally:
        await driver.__aexit__(None, None, None)


@asynccontextmanager
async def over_a_wire(
    server: OpcUaServer, group: PointGroup, **more: Any
) -> AsyncIterator[tuple[Listener, Wire]]:
    async with (
        wire_to(server.port) as wire,
        listening(f"opc.tcp://127.0.0.1:{wire.port}/plant", group, **more) as listener,
    ):
        yield listener, wire


def consecutive(rows: Sequence[Row]) -> list[int]:
    return [int(row.value) for row in rows if row.quality is Quality.GOOD]


# --- Values ------------------------------------------------------------------------------------


def test_each_type_arrives_as_the_server_has_it(server: OpcUaServer) -> None:
    expected: dict[str, Value] = {
        "Single": 0.10000000149011612,  # 0.1 as IEEE 754 single
        "Flag": 1.0,
        "SByte": -7.0,
        "Byte": 200.0,
        "Int16": -30000.0,
        "UInt16": 60000.0,
        "Int32": -2000000000.0,
        "UInt32": 4000000000.0,
        "Int64": -(2**62) - 1,
        "UInt64": 2**62 + 1,
        "Text": "läuft",
        "Since": "2026-01-02T03:04:05Z",
    }

    async def story() -> None:
        async with listening(server.url, points(*expected)) as listener:
            await listener.until_good(*expected)
            assert {row.name: row.value for row in listener.rows} == expected
            assert all(row.quality is Quality.GOOD for row in listener.rows)

    asyncio.run(story())


def test_a_node_of_another_type_or_none_is_bad_alone_and_once(server: OpcUaServer) -> None:
    async def story() -> None:
        group = points(
            "Text", "ns=0;i=99999999", "nsu=urn:nobody;s=Speed", "List", "Speed", type_=DataType.FLOAT
        )
        async with listening(server.url, group) as listener:
            await listener.until_good("Speed")
            await listener.until(lambda: len(listener.rows) == 5, "all were told")
            told = {row.name: row.quality for row in listener.rows}
            assert told == {
                "Text": Quality.BAD_TYPE_MISMATCH,
                "ns=0;i=99999999": Quality.BAD_ADDRESS,
                "nsu=urn:nobody;s=Speed": Quality.BAD_ADDRESS,
                "List": Quality.BAD_TYPE_MISMATCH,
                "Speed": Quality.GOOD,
            }
            server.ask("set", node="Text", value="steht", kind="String")
            server.ask("set", node="Speed", value=7.0)
            await listener.until(lambda: listener.rows[-1].value == 7.0, "Speed changed")
            assert len(listener.rows) == 6, "what is bad is told once"
            server.ask("set", node="Text", value="läuft", kind="String")

    asyncio.run(story())


def test_an_element_of_an_array(server: OpcUaServer) -> None:
    async def story() -> None:
        address = Address(f"nsu={URI};s=List", 2)
        group = PointGroup(1, "g", 50_000, (Point(1, "third", DataType.FLOAT, address),))
        async with listening(server.url, group) as listener:
            await listener.until_good("third")
            assert listener.rows[0].value == 3.0
            assert await listener.driver.read(1) == 3.0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (0x40930000, Quality.UNCERTAIN_SENSOR_NOT_ACCURATE),
        (0x808C0000, Quality.BAD_SENSOR_FAILURE),
        (0x00960000, Quality.GOOD_LOCAL_OVERRIDE),
    ],
)
def test_a_status_code_becomes_a_quality(server: OpcUaServer, status: int, quality: Quality) -> None:
    async def story() -> None:
        async with listening(server.url, points("Speed", "Byte")) as listener:
            await listener.until_good("Speed", "Byte")
            server.ask("set", node="Speed", value=9.5, status=status)
            await listener.until(lambda: listener.of("Speed")[-1].quality is quality, quality.name)
            server.ask("set", node="Speed", value=9.5)
            await listener.until(lambda: listener.of("Speed")[-1].quality is Quality.GOOD, "good again")
            assert len(listener.of("Byte")) == 1, "its neighbour noticed nothing"

    asyncio.run(story())


def test_samples_bear_the_time_of_the_device_and_none_is_missing_or_doubled(server: OpcUaServer) -> None:
    async def story() -> None:
        async with listening(server.url, points("Clock", "Count")) as listener:
            await listener.until(lambda: len(listener.of("Count")) > 40, "forty ticks")
            _, *clock = listener.of("Clock")
            assert [row.time_us for row in clock] == [row.value for row in clock]
            counted = consecutive(listener.of("Count"))
            assert counted == list(range(counted[0], counted[-1] + 1))
            assert listener.driver.missed == 0

    asyncio.run(story())


def test_how_a_node_stands_is_known_as_of_now_however_old_its_value_is(server: OpcUaServer) -> None:
    server.ask("set", node="Single", value=0.5, kind="Float", age_s=86400.0)

    async def story() -> None:
        before_us = Clock().now_us()
        async with listening(server.url, points("Single")) as listener:
            await listener.until_good("Single")
            assert before_us <= listener.rows[0].time_us <= Clock().now_us()

    asyncio.run(story())


def test_a_thousand_nodes_within_the_limits_the_server_names(
    server: OpcUaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = UaSession.create_monitored_items

    async def counted(self: UaSession, params: Any) -> Any:
        asked.append(len(params.ItemsToCreate))
        return await real(self, params)

    monkeypatch.setattr(UaSession, "create_monitored_items", counted)
    names = [f"m{i}" for i in range(1000)]

    async def story() -> None:
        async with listening(server.url, points(*names, type_=DataType.FLOAT)) as listener:
            await listener.until(lambda: len(listener.rows) >= 1000, "all thousand")
            assert [row.value for row in listener.rows] == [float(i) for i in range(1000)]

    asyncio.run(story())
    assert asked == [300, 300, 300, 100]


# --- Writing, reading, browsing ----------------------------------------------------------------


def test_each_type_can_be_written_and_what_does_not_fit_is_refused(server: OpcUaServer) -> None:
    written: dict[str, Value] = {
        "Speed": -12.25,
        "Single": 0.5,
        "Flag": False,
        "Byte": 255,
        "Int16": -32768,
        "UInt32": 2**32 - 1,
        "Int64": 2**63 - 1,
        "Text": "grün",
    }
    refused: dict[str, Value] = {
        "Flag": 2,
        "Byte": 256,
        "Int16": 1.5,
        "UInt32": -1,
        "Text": 5,
        "Single": 1e39,
        "Since": "now",
        "Count": 3,  # the server allows nobody to write it
    }

    async def story() -> None:
        names = sorted({*written, *refused})
        async with listening(server.url, points(*names)) as listener:
            signal = {name: 10 + i for i, name in enumerate(names)}
            for name, value in written.items():
                await listener.driver.write(signal[name], value)
                assert await listener.driver.read(signal[name]) == value, name
            for name, value in refused.items():
                with pytest.raises(WriteRefused, match=name):
                    await listener.driver.write(signal[name], value)
            assert await listener.driver.read(signal["Byte"]) == 255

    asyncio.run(story())


def test_what_cannot_be_read_says_why(server: OpcUaServer) -> None:
    async def story() -> None:
        group = points("nsu=urn:nobody;s=Speed", "ns=0;i=99999999", "Text", type_=DataType.FLOAT)
        async with listening(server.url, group) as listener:
            with pytest.raises(AddressError, match="no such namespace"):
                await listener.driver.read(10)
            with pytest.raises(AddressError, match="BadNodeIdUnknown"):
                await listener.driver.read(11)
            with pytest.raises(DriverError, match="String is no float"):
                await listener.driver.read(12)

    asyncio.run(story())


def test_what_browsing_finds_can_be_read_as_it_stands(server: OpcUaServer) -> None:
    async def story() -> None:
        async with listening(server.url, points("Speed")) as listener:
            top = {node.id: node for node in await listener.driver.browse(None)}
            assert top[f"nsu={URI};s=Plant"].has_children
            found = {node.name: node for node in await listener.driver.browse(f"nsu={URI};s=Plant")}
            assert found["Speed"].address == {"node": f"nsu={URI};s=Speed"}
            assert (found["Speed"].type, found["Speed"].writable) == (DataType.FLOAT, True)
            assert (found["UInt16"].type, found["Flag"].type) == (DataType.INTEGER, DataType.BOOLEAN)
            assert found["Text"].type is DataType.TEXT
            assert len(found) > 1000, "a long list comes whole"
            with pytest.raises(AddressError):
                await listener.driver.browse("nsu=urn:nobody;s=Plant")

    asyncio.run(story())


# --- Breaks ------------------------------------------------------------------------------------


def test_a_short_break_is_bad_while_it_lasts_and_nothing_of_it_is_missing(server: OpcUaServer) -> None:
    async def story() -> None:
        async with over_a_wire(server, points("Clock", "Count", "Int16"), timeout_s=1.0) as (listener, wire):
            await listener.until_good("Clock", "Count", "Int16")
            wire.cut()
            bad = Quality.BAD_NO_COMMUNICATION
            await listener.until(lambda: listener.of("Int16")[-1].quality is bad, "bad")
            wire.mend()
            await listener.until(lambda: listener.of("Int16")[-1].quality is Quality.GOOD, "good again")
            at = len(listener.of("Count"))
            await listener.until(lambda: len(listener.of("Count")) > at + 20, "it goes on")
            counted = sorted(consecutive(listener.of("Count")))
            assert counted == list(range(counted[0], counted[-1] + 1)), "each once"
            fresh = [row for row in listener.of("Clock")[1:] if row.quality is Quality.GOOD]
            assert [row.time_us for row in fresh] == [row.value for row in fresh]
            assert [row.quality for row in listener.of("Int16")] == [Quality.GOOD, bad, Quality.GOOD]
            assert listener.of("Int16")[1].time_us < listener.of("Int16")[2].time_us
            assert wire.connections > 1

    asyncio.run(story())


def test_a_wire_gone_dumb_is_noticed_by_its_silence(server: OpcUaServer) -> None:
    async def story() -> None:
        async with over_a_wire(server, points("Int16"), timeout_s=0.5) as (listener, wire):
            await listener.until_good("Int16")
            wire.hold()
            await listener.until(
                lambda: listener.of("Int16")[-1].quality is Quality.BAD_NO_COMMUNICATION, "noticed"
            )

    asyncio.run(story())


def test_a_long_break_ends_the_session(server: OpcUaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "PATIENCE_S", 0.5)

    async def story() -> None:
        async with over_a_wire(server, points("Int16"), timeout_s=0.5) as (listener, wire):
            await listener.until_good("Int16")
            wire.cut()
            with pytest.raises(ConnectionLost, match="no connection for"):
                async with asyncio.timeout(DEADLINE_S):
                    await listener.task

    asyncio.run(story())


def test_a_server_that_begins_anew_with_its_namespaces_in_another_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_module, "PATIENCE_S", DEADLINE_S)
    port = free_port()
    first = OpcUaServer(port)
    first.wait_ready()

    async def story() -> None:
        group = points("Speed", "Clock", "Text", "UInt16")
        async with listening(first.url, group, timeout_s=1.0) as listener:
            await listener.until_good("Speed", "Clock")
            first.kill()
            await listener.until(lambda: listener.of("Speed")[-1].quality >= Quality.BAD, "bad")
            second = OpcUaServer(port, (OTHER, URI))
            try:
                await asyncio.to_thread(second.wait_ready)
                await listener.until(lambda: listener.of("Speed")[-1].quality is Quality.GOOD, "good again")
                at = len(listener.of("Clock"))
                await listener.until(lambda: len(listener.of("Clock")) > at + 10, "it goes on")
            finally:
                second.kill()
            assert {row.value for row in listener.of("Speed") if row.quality < Quality.BAD} == {
                float(ord("t"))
            }
            clock = [row for row in listener.of("Clock") if row.quality < Quality.BAD]
            assert len({row.value for row in clock}) == len(clock), "no value twice"
            times = [row.time_us for row in listener.of("Clock")]
            assert times == sorted(set(times))
            good, bad = Quality.GOOD, Quality.BAD_NO_COMMUNICATION
            assert [row.quality for row in listener.of("UInt16")] == [good, bad, good]

    asyncio.run(story())


def test_a_node_that_comes_later_is_found(server: OpcUaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "RETRY_S", 0.1)

    async def story() -> None:
        async with listening(server.url, points("Later", type_=DataType.FLOAT)) as listener:
            await listener.until(lambda: listener.rows, "bad")
            assert listener.rows[0].quality is Quality.BAD_ADDRESS
            server.ask("add", node="Later")
            await listener.until_good("Later")
            assert [row.value for row in listener.rows[1:]] == [42.0]

    asyncio.run(story())


def test_nothing_of_a_session_is_left_behind(server: OpcUaServer) -> None:
    async def story() -> None:
        for _ in range(2):
            async with listening(server.url, points("Count")) as listener:
                await listener.until_good("Count")
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())


def test_nobody_there_is_a_loss() -> None:
    async def story() -> None:
        with pytest.raises(ConnectionLost, match=r"opc\.tcp://127\.0\.0\.1"):
            async with listening(f"opc.tcp://127.0.0.1:{free_port()}", points("Speed"), timeout_s=0.5):
                pass

    asyncio.run(story())


# --- Security ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpcUaServer, dict[str, Any]]]:
    """A server that wants signed and encrypted sessions of a user, and the settings for it."""
    folder = tmp_path_factory.mktemp("secure")
    certificate, key = identity(folder, "server")
    own, own_key = identity(folder, "gateway")
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    running = OpcUaServer(free_port(), certificate=str(certificate), key=str(key))
    running.wait_ready()
    yield (
        running,
        {
            "security": "Basic256Sha256",
            "certificate": str(own),
            "private_key": str(own_key),
            "server_certificate": str(certificate),
            "user": "operator",
            "password_file": str(password),
        },
    )
    running.kill()


def test_signed_and_encrypted_with_a_password_that_no_log_sees(
    secure: tuple[OpcUaServer, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    server, settings = secure
    caplog.set_level(logging.DEBUG)

    async def story() -> None:
        async with listening(server.url, points("Count", "Speed"), **settings) as listener:
            await listener.until_good("Count")
            await listener.driver.write(11, 3.5)
            assert await listener.driver.read(11) == 3.5

    asyncio.run(story())
    assert PASSWORD not in caplog.text


def test_a_wrong_password_stops_the_device(
    secure: tuple[OpcUaServer, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = secure
    wrong = tmp_path / "password"
    wrong.write_text("hunter2")

    async def story() -> None:
        with pytest.raises(ConfigError, match="refuses user 'operator'") as info:
            async with listening(server.url, points("Count"), **settings | {"password_file": str(wrong)}):
                pass
        assert "hunter2" not in str(info.value)

    asyncio.run(story())


def test_a_server_with_another_certificate_is_not_trusted(
    secure: tuple[OpcUaServer, dict[str, Any]], tmp_path: Path
) -> None:
    server, settings = secure
    impostor, _ = identity(tmp_path, "impostor")

    async def story() -> None:
        with pytest.raises(ConnectionLost):
            async with listening(
                server.url, points("Count"), **settings | {"server_certificate": str(impostor)}
            ):
                pass

    asyncio.run(story())


def test_an_unsecured_session_with_a_server_that_wants_security_is_refused(
    secure: tuple[OpcUaServer, dict[str, Any]],
) -> None:
    server, _ = secure

    async def story() -> None:
        with pytest.raises(ConnectionLost):
            async with listening(server.url, points("Count"), timeout_s=1.0):
                pass

    asyncio.run(story())


def test_a_missing_file_is_named(tmp_path: Path, secure: tuple[OpcUaServer, dict[str, Any]]) -> None:
    server, settings = secure

    async def story() -> None:
        with pytest.raises(ConfigError, match=r"nothing\.der: No such file"):
            async with listening(
                server.url, points("Count"), **settings | {"certificate": str(tmp_path / "nothing.der")}
            ):
                pass

    asyncio.run(story())
