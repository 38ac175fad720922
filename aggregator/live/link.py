"""The connection of this process to the broker: reconnecting, listening, sending commands.

It knows topics and envelopes; what they mean is the service's business. Identity `_web`.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple, Protocol

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from aggregator.broker import client_id
from contract.wire import topics
from contract.wire.command import Command
from contract.wire.envelope import pack
from contract.wire.topics import Down, Up

log = logging.getLogger(__name__)

LISTENED = (Up.TAIL, Up.STATUS, Up.BIRTH, Up.APPLIED, Up.ANSWER)
KEEPALIVE_S = 5
CONNECT_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.2
RETRY_LONGEST_S = 3.0
QUEUE_MAX = 10_000
"""Messages that wait for us; beyond it the newest are dropped, and the next reading repairs it."""


class BrokerAddress(NamedTuple):
    """Where the broker's central listener is, and the identity folder to show there."""

    host: str
    port: int
    identity: Path


class NotConnected(Exception):
    """The broker is not there; nothing was sent. Try again later."""


class Ear(Protocol):
    """Who listens; called in the loop's thread."""

    def connected(self) -> None: ...
    def lost(self) -> None: ...
    def heard(self, topic: str, payload: bytes, *, retained: bool) -> None: ...


class BrokerLink:
    """One connection after the other until it is cancelled."""

    def __init__(self, address: BrokerAddress, ear: Ear, rng: random.Random) -> None:
        self._address = address
        self._ear = ear
        self._rng = rng
        self._client: aiomqtt.Client | None = None

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Connect, listen, come back after each loss; never returns."""
        attempt = 0
        while True:
            _heed_cancellation()
            reason = "closed by the broker"
            try:
                async with self._connected() as client:
                    for lane in LISTENED:
                        await client.subscribe(topics.up("+", lane), qos=0 if lane is Up.TAIL else 1)
                    await client.subscribe(topics.CHANGED, qos=1)
                    _heed_cancellation()
                    self._client = client
                    self._ear.connected()
                    log.info("broker %s:%d: connected", self._address.host, self._address.port)
                    attempt = 0
                    async for message in client.messages:
                        payload = message.payload
                        assert isinstance(payload, bytes | bytearray)
                        self._ear.heard(str(message.topic), bytes(payload), retained=bool(message.retain))
            except (aiomqtt.MqttError, OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            finally:
                was_connected, self._client = self._client is not None, None
                self._ear.lost()
            if was_connected or attempt == 0:
                log.warning("broker %s:%d: lost: %s", self._address.host, self._address.port, reason)
            pause_s = min(RETRY_LONGEST_S, RETRY_FIRST_S * 1.6 ** min(attempt, 20))
            attempt += 1
            await sleep(pause_s * self._rng.uniform(0.5, 1.0))

    async def send(self, gateway: str, command: Command, expires_s: int) -> None:
        """Hand a command to the broker, which forgets it after `expires_s`.

        Raises:
            NotConnected: nothing was sent.
        """
        client = self._client
        if client is None:
            raise NotConnected("the broker is not connected")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no types here
        properties.MessageExpiryInterval = max(1, expires_s)
        try:
            await client.publish(
                topics.down(gateway, Down.COMMAND),
                pack(command),
                qos=1,
                properties=properties,
                timeout=CONNECT_TIMEOUT_S,
            )
        except aiomqtt.MqttError as error:
            raise NotConnected(f"the broker did not take it: {error}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        """A connected client that is taken down whole, even if we are cancelled while it connects.

        aiomqtt would leave socket and task behind; connecting and ending have their time-outs.
        """
        client = self._client_of()
        try:
            await _unbroken(client.__aenter__())
        except asyncio.CancelledError:
            with suppress(aiomqtt.MqttError):
                await _unbroken(client.__aexit__(None, None, None))
            raise
        try:
            yield client
        finally:
            await _unbroken(client.__aexit__(None, None, None))

    def _client_of(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._address.host,
            self._address.port,
            identifier=client_id("_web", token_hex(8)),
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=KEEPALIVE_S,
            timeout=CONNECT_TIMEOUT_S,
            clean_start=paho.MQTT_CLEAN_START_FIRST_ONLY,
            tls_context=_tls(self._address.identity),
            max_queued_incoming_messages=QUEUE_MAX,
        )


async def _unbroken(work: Coroutine[Any, Any, object]) -> None:
    """Do something to its end; a cancellation in between is raised afterwards, however often it came."""
    doing = asyncio.ensure_future(work)
    told: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as cancelled:
            told = cancelled
    if told is not None:
        with suppress(aiomqtt.MqttError):
            doing.result()
        raise told
    doing.result()


def _heed_cancellation() -> None:
    """End this task if it was told to: before Python 3.12 a wait inside aiomqtt may lose that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _tls(identity: Path) -> ssl.SSLContext:
    """TLS 1.3 with our certificate; trusts the central authority alone. Read anew at each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(identity / "ca.pem")
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    return context
