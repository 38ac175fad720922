"""The session with a server: made, asked and let go of; the library's errors end here.

Within a session the library itself mends a broken connection (`auto_reconnect`): it activates
the same session again or, where the server has forgotten it, begins a new one. What that means
for subscriptions and values is `driver.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from asyncua import Client, ua
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509

from edge.drivers.driver import ConfigError, ConnectionLost, DriverError
from edge.drivers.opcua.settings import NodeName, Settings, secret_file

# A loss is told once, by the supervisor; the library would tell it each second, and at its most
# talkative level also what a password looks like on the wire.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)

T = TypeVar("T")

GOODBYE_S: Final = 0.3
"""How long a living server has to take leave of us: a session it keeps open counts against its limit."""

AT_ONCE: Final = 1000
"""Nodes in one request to a server that names no limit of its own."""

SESSION_MS: Final = 60_000
RECONNECT_S: Final = 1.0

SILENT: Final = (OSError, TimeoutError)

LOST: Final = frozenset(
    {
        ua.StatusCodes.BadSessionIdInvalid,
        ua.StatusCodes.BadSessionClosed,
        ua.StatusCodes.BadSessionNotActivated,
        ua.StatusCodes.BadSecureChannelIdInvalid,
        ua.StatusCodes.BadSecureChannelClosed,
        ua.StatusCodes.BadConnectionClosed,
        ua.StatusCodes.BadServerHalted,
        ua.StatusCodes.BadShutdown,
        ua.StatusCodes.BadSubscriptionIdInvalid,
        ua.StatusCodes.BadNoSubscription,
    }
)
WRONG_USER: Final = frozenset(
    {
        ua.StatusCodes.BadIdentityTokenInvalid,
        ua.StatusCodes.BadIdentityTokenRejected,
        ua.StatusCodes.BadUserAccessDenied,
    }
)
CERTIFICATE: Final = frozenset(
    {
        ua.StatusCodes.BadSecurityChecksFailed,
        ua.StatusCodes.BadCertificateInvalid,
        ua.StatusCodes.BadCertificateUntrusted,
        ua.StatusCodes.BadCertificateTimeInvalid,
        ua.StatusCodes.BadCertificateHostNameInvalid,
        ua.StatusCodes.BadCertificateUriInvalid,
    }
)

NAMESPACES: Final = ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray))
LIMITS: Final = (
    ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead)),
    ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall)),
)


class Refused(Exception):
    """The server answered a request with a bad StatusCode; nothing is wrong with the link."""

    def __init__(self, code: int) -> None:
        status = ua.StatusCode(ua.UInt32(code))
        super().__init__(f"{status.name}: {status.doc}")
        self.code = code


def chunks(of: Sequence[T], limit: int) -> Iterable[Sequence[T]]:
    """A sequence in parts the server takes; limit 0: it names none."""
    size = min(limit or AT_ONCE, AT_ONCE)
    return (of[first : first + size] for first in range(0, len(of), size))


class _Client(Client):
    """The library's client, which counts the sessions it began.

    A server that was started again may give a session the very token an earlier one had.
    """

    begun = 0

    async def create_session(self) -> ua.CreateSessionResult:
        self.begun += 1
        return await super().create_session()


class Link:
    """One session; made anew by the supervisor when this one ends for good.

    Args:
        lost: called when the connection broke; the library is mending it then.

    Attributes:
        namespaces: URIs by index, as the server has them in this session.
        per_read, per_monitor: nodes in one request; 0: no limit named.
    """

    def __init__(self, settings: Settings, lost: Callable[[], None]) -> None:
        self._settings = settings
        self._lost = lost
        self._client: _Client | None = None
        self._known = 0
        self.namespaces: list[str] = []
        self.per_read = self.per_monitor = 0

    @property
    def client(self) -> _Client:
        """The library's client of a link that was made."""
        assert self._client is not None
        return self._client

    @property
    def is_up(self) -> bool:
        """Whether a session is active now."""
        return self._client is not None and self._client.state is UaClientState.CONNECTED

    async def connect(self) -> None:
        """Make the session.

        Raises:
            ConnectionLost, ConfigError: with what to do about it.
        """
        s = self._settings
        client = _Client(
            s.url,
            timeout=s.timeout_s,
            watchdog_intervall=s.timeout_s,
            auto_reconnect=True,
            reconnect_max_delay=RECONNECT_S,
            reconnect_request_timeout=s.timeout_s,
        )
        client.session_timeout = SESSION_MS
        client.name = client.description = "Feldwarte"
        client.application_uri = "urn:feldwarte:gateway"
        client.product_uri = "urn:feldwarte"
        client.connection_lost_callback = self._broken
        try:
            await self._secure(client)
        except (OSError, ValueError, TypeError) as err:
            raise ConfigError(f"{s.url}: {_file_fault(err)}") from err
        self._client = client
        try:
            await client.connect()
        except ua.UaStatusCodeError as err:
            raise self._refused_session(err.code) from err
        except ua.UaError as err:
            raise ConnectionLost(f"{s.url}: {err}") from err
        except SILENT as err:
            raise ConnectionLost(f"{s.url}: {_why(err, s.timeout_s)}") from err
        await self.look_around()

    async def look_around(self) -> None:
        """What is true of this session only: namespaces and limits.

        Raises:
            ConnectionLost: it broke meanwhile.
        """
        self._known = self.client.begun
        namespaces, *limits = await self.read([NAMESPACES, *LIMITS])
        found = namespaces.Value.Value if namespaces.Value is not None else None
        self.namespaces = [str(uri) for uri in found] if isinstance(found, list) else []
        self.per_read, self.per_monitor = (
            int(one.Value.Value) if one.Value is not None and isinstance(one.Value.Value, int) else 0
            for one in limits
        )

    @property
    def is_same_session(self) -> bool:
        """Whether the server still knows the session whose namespaces we looked up."""
        return self._known == self.client.begun

    def node_id(self, name: NodeName) -> ua.NodeId | None:
        """The id in this session; None where the server does not have the namespace."""
        namespace = name.namespace
        if isinstance(namespace, str):
            if namespace not in self.namespaces:
                return None
            namespace = self.namespaces.index(namespace)
        found: ua.NodeId = ua.NodeId.from_string(f"ns={namespace};{name.kind}={name.identifier}")
        return found

    def named(self, node: ua.NodeId) -> str:
        """A node id that outlives the session: with the namespace's URI instead of its index."""
        index = node.NamespaceIndex
        text = ua.NodeId(node.Identifier, ua.Int16(0), node.NodeIdType).to_string()
        if index == 0:
            return str(text)
        if index < len(self.namespaces):
            uri = self.namespaces[index].replace("%", "%25").replace(";", "%3B")
            return f"nsu={uri};{text}"
        return f"ns={index};{text}"

    async def ask(self, request: Awaitable[T]) -> T:
        """The answer to a request.

        Raises:
            Refused: the server said no. ConnectionLost: it said nothing, or the session is over.
        """
        s = self._settings
        try:
            async with asyncio.timeout(s.timeout_s):
                return await request
        except ua.UaStatusCodeError as err:
            if err.code in LOST:
                raise ConnectionLost(f"{s.url}: {Refused(err.code)}") from err
            raise Refused(err.code) from err
        except ua.UaError as err:
            raise ConnectionLost(f"{s.url}: the server's answer is none: {err}") from err
        except SILENT as err:
            raise ConnectionLost(f"{s.url}: {_why(err, s.timeout_s)}") from err

    async def read(
        self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds = ua.AttributeIds.Value
    ) -> list[ua.DataValue]:
        """One attribute of each node, in as few requests as the server allows.

        Raises:
            ConnectionLost: no answer. DriverError: the whole request was refused.
        """
        found: list[ua.DataValue] = []
        for part in chunks(nodes, self.per_read):
            try:
                found += await self.ask(self.client.uaclient.read_attributes(list(part), attribute))
            except Refused as err:
                raise DriverError(f"{self._settings.url}: cannot be read: {err}") from err
        if len(found) != len(nodes):
            raise ConnectionLost(f"{self._settings.url}: {len(found)} answers to {len(nodes)} questions")
        return found

    async def close(self) -> None:
        """Take leave within `GOODBYE_S` of a server that is there, and of no other. Raises nothing."""
        client, self._client = self._client, None
        if client is None:
            return
        client.connection_lost_callback = None
        was_up = client.state is UaClientState.CONNECTED
        if not was_up:
            client.uaclient.pre_request_hook = None
        with suppress(Exception):
            async with asyncio.timeout(GOODBYE_S):
                await client.disconnect()
        with suppress(Exception):
            client.disconnect_socket()

    async def _broken(self, _: Exception) -> None:
        self._lost()

    async def _secure(self, client: Client) -> None:
        s = self._settings
        if s.user:
            client.set_user(s.user)
            client.set_password(secret_file(s.password_file).read_text(encoding="utf-8").rstrip("\r\n"))
        if s.security == "none":
            return
        certificate = _pem_or_der(secret_file(s.certificate))
        client.application_uri = _application_uri(certificate) or client.application_uri
        await client.set_security(
            getattr(security_policies, f"SecurityPolicy{s.security}"),
            certificate,
            _pem_or_der(secret_file(s.private_key)),
            server_certificate=_pem_or_der(secret_file(s.server_certificate)),
            mode=ua.MessageSecurityMode[s.mode],
        )

    def _refused_session(self, code: int) -> DriverError:
        s = self._settings
        if code in WRONG_USER:
            who = f"user {s.user!r} and this password" if s.user else "anonymous sessions"
            return ConfigError(f"{s.url}: the server refuses {who}")
        if code in CERTIFICATE:
            return ConnectionLost(
                f"{s.url}: {Refused(code)}; the server has to trust {s.certificate or 'our certificate'}"
            )
        return ConnectionLost(f"{s.url}: {Refused(code)}")


def _pem_or_der(path: Path) -> CertProperties:
    content = path.read_bytes()
    return CertProperties(content, "pem" if content.lstrip().startswith(b"-----BEGIN") else "der")


def _application_uri(certificate: CertProperties) -> str:
    """The URI a certificate was made for; servers want the session to bear the same."""
    assert isinstance(certificate.path_or_content, bytes)
    is_pem = certificate.extension == "pem"
    load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
    try:
        names = load(certificate.path_or_content).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.value.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _file_fault(err: Exception) -> str:
    if isinstance(err, OSError):
        return f"{err.filename}: {err.strerror}"
    return f"not usable as certificate or key: {err}"


def _why(err: Exception, timeout_s: float) -> str:
    if isinstance(err, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return getattr(err, "strerror", None) or str(err) or type(err).__name__
