"""The link to a Modbus TCP device: one request at a time, its payload or why there is none.

pymodbus frames and matches the transactions; what the answers mean is `decode.py`, who asks
and when `driver.py`. Connecting again is the supervisor's.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from edge.drivers.driver import ConnectionLost
from edge.drivers.modbus.decode import payload
from edge.drivers.modbus.requests import Read
from edge.drivers.modbus.settings import Settings, Table

# A loss is told once, by the supervisor; the library would tell each failed request.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

LONGEST_BUFFER: Final = 4096
"""Bytes pymodbus may hold; its own 264 throw away an answer that comes together with a late one."""

FUNCTIONS: Final[dict[Table, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
ACKNOWLEDGE: Final = 5
BUSY: Final = 6
NO_PATH: Final = 10
NO_ANSWER: Final = 11

# MODBUS Application Protocol V1.1b3, 7
EXCEPTIONS: Final = {
    ILLEGAL_FUNCTION: "the device does not know this function",
    ILLEGAL_ADDRESS: "the device has no such register",
    ILLEGAL_VALUE: "the device does not take this value",
    4: "the device failed while doing it",
    ACKNOWLEDGE: "the device has begun and is not done yet",
    BUSY: "the device is busy; try again",
    8: "the device found its memory damaged",
    NO_PATH: "the gateway has no way to the unit",
    NO_ANSWER: "the gateway gets no answer from the unit",
}


class Body(ModbusPDU):
    """A response as the bytes behind its function code; our own code reads them, once per poll."""

    body = b""

    def decode(self, data: bytes) -> None:
        self.body = data


BODIES: Final = tuple(
    type(f"Body{code}", (Body,), {"function_code": code}) for code in (1, 2, 3, 4, 5, 6, 15, 16)
)


class Silent(Exception):
    """A unit did not answer in time, or its gateway says that it does not."""


class Refused(Exception):
    """The device answered with an exception code; 0: with something that is no answer."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text or EXCEPTIONS.get(code, f"the device answered with exception {code}"))
        self.code = code


class Link:
    """One TCP connection; made anew for each session. Its requests are made one at a time by `turn`.

    Attributes:
        turn: held around each request, and around two that belong together. It is fair: a
            write waits for the request under way and for nothing else.
    """

    def __init__(self, settings: Settings) -> None:
        self.turn = asyncio.Lock()
        self._settings = settings
        self._name = f"{settings.host}:{settings.port}"
        self._client: AsyncModbusTcpClient | None = None
        self._waiting: asyncio.Timeout | None = None
        self._is_lost = False
        self._may_be_late = False

    async def connect(self) -> None:
        """Open the connection.

        Raises:
            ConnectionLost: not within the timeout.
        """
        s = self._settings
        client = AsyncModbusTcpClient(
            s.host,
            port=s.port,
            timeout=s.timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._on_connect,
        )
        for body in BODIES:
            client.register(body)
        client.ctx.max_buffer_size = LONGEST_BUFFER
        client.set_max_no_responses(2**31)  # a dead unit is no reason to hang up on the others
        self._client = client
        if not await client.connect():
            raise ConnectionLost(f"{self._name} cannot be reached within {s.timeout_s:g} s")

    def close(self) -> None:
        """Hang up; also where nothing was connected."""
        if self._client is not None:
            self._client.close()

    async def read(self, read: Read) -> bytes:
        """Payload of a read, of the length that was asked for.

        Raises:
            Silent: the unit does not answer. Refused: it says no, or something that is no
                answer. ConnectionLost. The writes raise the same.
        """
        client = self._connected()
        ask = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
        }[read.table]
        body = await self._exchange(
            FUNCTIONS[read.table], read.unit, lambda: ask(read.first, count=read.count, device_id=read.unit)
        )
        data = payload(body, read.size)
        if data is None:
            raise Refused(0, f"{read}: an answer of the wrong length")
        return data

    async def write_coil(self, unit: int, first: int, *, on: bool) -> None:
        """Set one coil."""
        client = self._connected()
        if self._settings.only_multiple_writes:
            await self._confirmed(15, unit, first, 1, lambda: client.write_coils(first, [on], device_id=unit))
        else:
            await self._confirmed(
                5, unit, first, 0xFF00 if on else 0, lambda: client.write_coil(first, on, device_id=unit)
            )

    async def write_registers(self, unit: int, first: int, wire: bytes) -> None:
        """Set holding registers from two bytes each."""
        client = self._connected()
        words = list(struct.unpack(f">{len(wire) // 2}H", wire))
        if len(words) > 1 or self._settings.only_multiple_writes:
            await self._confirmed(
                16, unit, first, len(words), lambda: client.write_registers(first, words, device_id=unit)
            )
        else:
            await self._confirmed(
                6, unit, first, words[0], lambda: client.write_register(first, words[0], device_id=unit)
            )

    async def write_bits(self, unit: int, first: int, mask: int, *, on: bool) -> None:
        """Read a register, change the bits of the mask, write it back: nobody of ours comes in between.

        A program in the device that changes another bit of it meanwhile loses its change.
        """
        (word,) = struct.unpack(">H", await self.read(Read(unit, "holding", first, 1, ())))
        await self.write_registers(unit, first, struct.pack(">H", word | mask if on else word & ~mask))

    def _connected(self) -> AsyncModbusTcpClient:
        if self._client is None or self._is_lost:
            raise ConnectionLost(f"{self._name} closed the connection")
        return self._client

    async def _confirmed(
        self, function: int, unit: int, first: int, told: int, call: Callable[[], Awaitable[ModbusPDU]]
    ) -> None:
        """Write and check the echo: the address and the value, or how many were written."""
        body = await self._exchange(function, unit, call)
        if body != struct.pack(">HH", first, told):
            raise Refused(0, f"the device confirmed something else: {body.hex(' ')}")

    async def _exchange(self, function: int, unit: int, call: Callable[[], Awaitable[ModbusPDU]]) -> bytes:
        """One request and the bytes behind the function code of its answer.

        Raises:
            Silent: the unit does not answer. Refused: it says no. ConnectionLost.
        """
        s = self._settings
        was_late, self._may_be_late = self._may_be_late, True  # until it has come
        try:
            # Longer than the library's own, which tells a silent unit; ours ends on a hang-up.
            async with asyncio.timeout(s.timeout_s + 1) as self._waiting:
                response = await call()
        except TimeoutError as err:
            raise ConnectionLost(f"{self._name} closed the connection") from err
        except ModbusIOException as err:
            raise Silent(f"unit {unit} did not answer within {s.timeout_s:g} s") from err
        except ModbusException as err:
            raise ConnectionLost(f"{self._name}: {err}") from err
        finally:
            self._waiting = None
        self._may_be_late = was_late
        if was_late and not response.transaction_id:
            # Some devices leave the number out and the library lets them: then nothing tells
            # this answer from the one we gave up on. A new connection does.
            raise ConnectionLost(f"{self._name}: answers without transaction numbers, and one was late")
        if response.isError():
            if response.exception_code in {NO_PATH, NO_ANSWER}:
                raise Silent(f"unit {unit}: {EXCEPTIONS[response.exception_code]}")
            raise Refused(response.exception_code)
        if not isinstance(response, Body) or response.function_code != function:
            raise Refused(0, f"asked function {function}, answered {response.function_code}")
        return response.body

    def _on_connect(self, is_connected: bool) -> None:
        if is_connected:
            return
        self._is_lost = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())
