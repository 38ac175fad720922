"""A paho client (MQTT 5) for tests that want to see every reason code, without threads.

    with Client(port, context, "gw-1") as client:
        client.subscribe("fw/1/gw-1/down/#")
        reason = client.publish("fw/1/gw-1/up/event", b"...")     # 0 done, 16 nobody listens, 135 refused
        client.wait_for(lambda: client.messages)

Nothing is received except while one of its calls waits.
"""

import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

HOST = "127.0.0.1"
NOT_AUTHORIZED = 135
NO_MATCHING_SUBSCRIBERS = 16
PACKET_TOO_LARGE = 149
TIMEOUT_S = 10.0


class Message(NamedTuple):
    """What arrived."""

    topic: str
    payload: bytes
    is_retained: bool


class Refused(Exception):
    """The broker answered CONNECT with this reason."""


class Client:
    """Connected while the `with` lasts; raises `Refused`, or `OSError` when TLS says no."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        identifier: str,
        *,
        username: str | None = None,
        will: str | None = None,
        keeps_session: bool = False,
    ) -> None:
        self.messages: list[Message] = []
        self.is_connected = False
        self.end_reason: int | None = None
        self._reasons: dict[int, int] = {}
        self._answer: ReasonCode | None = None
        self._port = port
        self._keeps_session = keeps_session
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=identifier, protocol=paho.MQTTv5
        )
        client.tls_set_context(context)
        if username is not None:
            client.username_pw_set(username, "secret")
        if will is not None:
            client.will_set(will, b"last will", qos=1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe

    def __enter__(self) -> Self:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no type here
        properties.SessionExpiryInterval = 3600 if self._keeps_session else 0
        self._client.connect(
            HOST, self._port, keepalive=60, clean_start=not self._keeps_session, properties=properties
        )
        try:
            self.wait_for(lambda: self._answer is not None or not self._has_socket(), "an answer to CONNECT")
            if self._answer is None:
                raise ConnectionResetError("the broker hung up before it answered")
            if self._answer.is_failure:
                raise Refused(str(self._answer))
        except BaseException:
            self.drop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._has_socket():
            self._client.disconnect()
            deadline = time.monotonic() + TIMEOUT_S
            while self._has_socket() and time.monotonic() < deadline:
                self._client.loop(0.05)
        self.drop()

    def drop(self) -> None:
        """Cut the connection without a word, as a broken link does."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client._reset_sockets()
        self.is_connected = False

    def publish(self, topic: str, payload: bytes = b"x", *, is_retained: bool = False) -> int:
        """Reason code of the PUBACK."""
        mid = self._client.publish(topic, payload, qos=1, retain=is_retained).mid
        self.wait_for(lambda: mid in self._reasons, f"PUBACK for {topic}")
        return self._reasons.pop(mid)

    def subscribe(self, topic: str) -> int:
        """Reason code of the SUBACK; below 128 it was granted."""
        _, mid = self._client.subscribe(topic, qos=1)
        assert mid is not None
        self.wait_for(lambda: mid in self._reasons, f"SUBACK for {topic}")
        return self._reasons.pop(mid)

    def wait_for(
        self, condition: Callable[[], object], what: str = "a message", within_s: float = TIMEOUT_S
    ) -> None:
        """Receive until the condition holds."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s} s: {what}")
            self._client.loop(0.05)

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]

    def _has_socket(self) -> bool:
        return self._client.socket() is not None

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._answer = reason
        self.is_connected = not reason.is_failure

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self.is_connected = False
        self.end_reason = reason.value

    def _on_message(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        self.messages.append(Message(message.topic, bytes(message.payload), message.retain))

    def _on_publish(self, client: Any, data: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        self._reasons[mid] = reason.value

    def _on_subscribe(
        self, client: Any, data: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        self._reasons[mid] = reasons[0].value
