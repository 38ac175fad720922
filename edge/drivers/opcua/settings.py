"""What an OPC UA server and a node's address may say. User's view: docs/drivers/opcua.md."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from contract.model.config import Fault
from contract.model.signal import DataType

Security = Literal["none", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]
Mode = Literal["Sign", "SignAndEncrypt"]

NODE: Final = re.compile(
    r"(?:ns=(?P<ns>\d{1,5});|nsu=(?P<nsu>[^;]+);)?"
    r"(?:i=(?P<i>\d{1,10})|(?P<kind>[sgb])=(?P<text>.+))",
    re.DOTALL,
)
"""Source: OPC 10000-6, 5.1.12 (string form of a NodeId)."""

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts the secrets of a unit."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One session with one server."""

    url: Annotated[
        str,
        Meta(pattern=r"^opc\.tcp://[^/@\s]+(/\S*)?$", description="Of the server, opc.tcp://host:4840/path."),
    ]
    security: Annotated[
        Security, Meta(description="Policy of the secure channel; none is said, never assumed.")
    ]
    mode: Annotated[Mode, Meta(description="Sign, or SignAndEncrypt.")] = "SignAndEncrypt"
    certificate: Annotated[str, Meta(description="File of our own certificate, .pem or .der.")] = ""
    private_key: Annotated[str, Meta(description="File of its private key, .pem or .der.")] = ""
    server_certificate: Annotated[
        str, Meta(description="File of the server's certificate: this one is trusted and no other.")
    ] = ""
    user: Annotated[str, Meta(max_length=200, description="User name; anonymous if empty.")] = ""
    password_file: Annotated[str, Meta(description="File that holds the user's password.")] = ""
    timeout_s: Annotated[
        float, Meta(ge=0.1, le=60, description="Longest wait for an answer; a loss is seen within twice it.")
    ] = 2.0
    publishing_s: Annotated[
        float, Meta(ge=0.05, le=60, description="How often the server sends what has changed.")
    ] = 0.5
    queue: Annotated[
        int, Meta(ge=2, le=10_000, description="Values of a node the server keeps between two messages.")
    ] = 100
    stamps: Annotated[
        Literal["source", "gateway"],
        Meta(description="source: the time the device gives its values; gateway: when they arrive here."),
    ] = "source"

    def __post_init__(self) -> None:
        """Fields that do not go together. Raises ValueError with all of it."""
        faults = [*_security_faults(self)]
        if bool(self.user) != bool(self.password_file):
            faults.append("user and password_file go together")
        if faults:
            raise ValueError("; ".join(faults))


def _security_faults(settings: Settings) -> Iterator[str]:
    files = {
        "certificate": settings.certificate,
        "private_key": settings.private_key,
        "server_certificate": settings.server_certificate,
    }
    if settings.security == "none":
        if given := [name for name, file in files.items() if file]:
            yield f"security none uses no {', '.join(given)}; name a policy, or leave them out"
        if settings.user:
            yield "a password needs an encrypted channel: name a policy, e.g. Basic256Sha256"
        return
    if missing := [name for name, file in files.items() if not file]:
        yield f"security {settings.security} needs {', '.join(missing)}"
    if settings.user and settings.mode != "SignAndEncrypt":
        yield "a password needs mode SignAndEncrypt"


def secret_file(name: str) -> Path:
    """Where a file of the settings lies: an absolute path, or the name of a systemd credential.

    Raises:
        ValueError: a relative name, and this process was given no credentials.
    """
    path = Path(name)
    if path.is_absolute():
        return path
    folder = os.environ.get(CREDENTIALS)
    if not folder:
        raise ValueError(f"{name} is no absolute path, and this process has no {CREDENTIALS}")
    return Path(folder) / path.name


class NodeName(NamedTuple):
    """A node id taken apart; the namespace is an index, or a URI that becomes one in each session."""

    namespace: int | str
    kind: Literal["i", "s", "g", "b"]
    identifier: str


def node_name(text: str) -> NodeName | None:
    """The parts of a node id as text; None where it is none."""
    match = NODE.fullmatch(text)
    if match is None:
        return None
    namespace: int | str = int(match["ns"] or 0)
    if match["nsu"] is not None:
        namespace = unquote(match["nsu"])  # a ; in a URI is written %3B
    if match["i"] is not None:
        return NodeName(namespace, "i", match["i"])
    kind: Literal["s", "g", "b"] = match["kind"]  # type: ignore[assignment]  # the pattern has no other
    return NodeName(namespace, kind, match["text"])


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which node, and which element where its value is an array."""

    node: Annotated[
        str,
        Meta(
            min_length=3,
            max_length=4096,
            description="Node id: ns=2;s=Pump.Speed, ns=2;i=1001 or nsu=urn:maker:plc;s=Pump.Speed.",
        ),
    ]
    index: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None, Meta(description="Element of an array, from 0.")
    ] = None


def address_faults(address: Address, type_: DataType, *, writable: bool) -> Iterator[Fault]:  # noqa: ARG001  # only the server knows the node's type
    """What the schema cannot see."""
    name = node_name(address.node)
    if name is None:
        yield Fault(
            "$.node", f"{address.node!r} is no node id; e.g. ns=2;s=Pump.Speed, nsu=urn:maker:plc;i=7"
        )
    elif isinstance(name.namespace, int) and name.namespace > 65535:
        yield Fault("$.node", f"namespace {name.namespace} is beyond 65535")
    elif name.kind == "i" and int(name.identifier) > 2**32 - 1:
        yield Fault("$.node", f"i={name.identifier} is beyond {2**32 - 1}")
    elif name.kind == "g" and not re.fullmatch(
        r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", name.identifier
    ):
        yield Fault("$.node", f"g={name.identifier} is no GUID")
    elif name.kind == "b" and not re.fullmatch(
        r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", name.identifier
    ):
        yield Fault("$.node", f"b={name.identifier} is not base64")
    if writable and address.index is not None:
        yield Fault(
            "$.index", "an element of an array cannot be written; leave index out, or writable: false"
        )
