"""An OPC UA server in a process of its own, driven by lines of JSON on its stdin.

    server = OpcUaServer(port)
    server.wait_ready()
    server.ask("set", node="Speed", value=3.0)

Each namespace of `uris` holds the nodes `NODES` with its own base value, so that a value tells
which namespace it came from. `Clock` is written all the time: its value is its own source time
in µs, so that a reading tells whether its stamp is true and whether it came twice. `Count` rises
by one with it, so that a missing one shows.
"""

import asyncio
import itertools
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.cert_gen import generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import DNSName, GeneralName, UniformResourceIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

ROOT = Path(__file__).resolve().parents[2]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK_S = 0.05
URI = "urn:test:plant"
OTHER = "urn:test:other"
PASSWORD = "correct horse"

NODES: dict[str, tuple[object, ua.VariantType]] = {
    "Speed": (1.5, ua.VariantType.Double),
    "Single": (0.1, ua.VariantType.Float),
    "Flag": (True, ua.VariantType.Boolean),
    "SByte": (-7, ua.VariantType.SByte),
    "Byte": (200, ua.VariantType.Byte),
    "Int16": (-30000, ua.VariantType.Int16),
    "UInt16": (60000, ua.VariantType.UInt16),
    "Int32": (-2000000000, ua.VariantType.Int32),
    "UInt32": (4000000000, ua.VariantType.UInt32),
    "Int64": (-(2**62) - 1, ua.VariantType.Int64),
    "UInt64": (2**62 + 1, ua.VariantType.UInt64),
    "Text": ("läuft", ua.VariantType.String),
    "Since": (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), ua.VariantType.DateTime),
    "List": ([1.0, 2.0, 3.0], ua.VariantType.Double),
}


class Users(UserManager):
    """One user, `operator`."""

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if username == "operator" and password == PASSWORD:
            return User(role=UserRole.Admin, name=username)
        return None


def identity(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as .der and .pem."""
    key = generate_private_key()
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    names: list[GeneralName] = [UniformResourceIdentifier(f"urn:test:{name}"), DNSName("localhost")]
    certificate = generate_self_signed_app_certificate(key, name, {}, names, extended=usage)
    files = folder / f"{name}.der", folder / f"{name}-key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.DER))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def _serve(options: dict[str, Any]) -> None:
    is_secure = bool(options.get("certificate"))
    server = Server(user_manager=Users() if is_secure else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options['port']}/plant")
    if is_secure:
        await server.set_application_uri("urn:test:server")
        server.set_security_policy(
            [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt, ua.SecurityPolicyType.Basic256Sha256_Sign],
            permission_ruleset=SimpleRoleRuleset(),  # type: ignore[no-untyped-call]  # the library's
        )
        await server.load_certificate(options["certificate"])
        await server.load_private_key(options["key"])
        server.set_identity_tokens([ua.UserNameIdentityToken])
    nodes: dict[str, Any] = {}
    for base, uri in enumerate(options["uris"]):
        index = await server.register_namespace(uri)
        folder = await server.nodes.objects.add_object(
            ua.NodeId(ua.String("Plant"), ua.Int16(index)), f"{index}:Plant"
        )
        for name, (value, kind) in NODES.items():
            shown = float(ord(uri[-1])) if name == "Speed" else value
            node = await folder.add_variable(
                ua.NodeId(ua.String(name), ua.Int16(index)), f"{index}:{name}", ua.Variant(shown, kind)
            )
            await node.set_writable()
            nodes[name if base == 0 else f"{uri}/{name}"] = node
        for i in range(options.get("many", 0) if base == 0 else 0):
            await folder.add_variable(
                ua.NodeId(ua.String(f"m{i}"), ua.Int16(index)), f"{index}:m{i}", float(i)
            )
    index = await server.get_namespace_index(URI)
    ticking = [
        await server.nodes.objects.add_variable(
            ua.NodeId(ua.String(name), ua.Int16(index)),
            f"{index}:{name}",
            ua.Variant(0, ua.VariantType.Int64),
        )
        for name in ("Clock", "Count")
    ]
    for name, limit in options.get("limits", {}).items():
        node = server.get_node(
            ua.NodeId(ua.Int32(getattr(ua.ObjectIds, f"Server_ServerCapabilities_OperationLimits_{name}")))
        )
        await node.write_value(ua.Variant(limit, ua.VariantType.UInt32))
    async with server:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        tick = asyncio.create_task(_tick(*ticking))
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            said = json.loads(line)
            if said["verb"] == "set":
                await nodes[said["node"]].write_value(_value(said))
            elif said["verb"] == "add":
                await server.nodes.objects.add_variable(
                    ua.NodeId(ua.String(said["node"]), ua.Int16(index)), f"{index}:{said['node']}", 42.0
                )
            print("done", flush=True)
        tick.cancel()


async def _tick(clock: Any, count: Any) -> None:
    for number in itertools.count():
        now = datetime.now(UTC)
        for node, value in ((clock, (now - EPOCH) // timedelta(microseconds=1)), (count, number)):
            await node.write_value(_stamped(value, now))
        await asyncio.sleep(TICK_S)


def _stamped(value: int, moment: datetime) -> ua.DataValue:
    now = _moment(moment)
    return ua.DataValue(ua.Variant(value, ua.VariantType.Int64), SourceTimestamp=now, ServerTimestamp=now)


def _value(said: dict[str, Any]) -> ua.DataValue:
    kind = ua.VariantType[said.get("kind", "Double")]
    now = datetime.now(UTC)
    return ua.DataValue(
        ua.Variant(said["value"], kind),
        StatusCode=ua.StatusCode(ua.UInt32(said.get("status", 0))),
        SourceTimestamp=_moment(now - timedelta(seconds=said.get("age_s", 0.0))),
        ServerTimestamp=_moment(now),
    )


def _moment(moment: datetime) -> ua.DateTime:
    return ua.DateTime.fromtimestamp(moment.timestamp(), UTC)


class OpcUaServer:
    """The process."""

    def __init__(self, port: int, uris: tuple[str, ...] = (URI, OTHER), **more: Any) -> None:
        options = json.dumps({"port": port, "uris": uris, **more})
        self.port = port
        self.url = f"opc.tcp://127.0.0.1:{port}/plant"
        self.process = subprocess.Popen(
            [sys.executable, __file__, options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> None:
        assert self._answer() == "ready", "the server did not begin"

    def ask(self, verb: str, **more: Any) -> None:
        """Do something; returns when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"verb": verb, **more}) + "\n")
        self.process.stdin.flush()
        assert self._answer() == "done"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(_serve(json.loads(sys.argv[1])))
