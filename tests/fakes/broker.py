"""Our generated mosquitto on free ports of loopback, for any test.

    with running_broker(tmp_path) as broker:
        identity = broker.issue("gw-1")            # folder: ca.pem certificate.pem key.pem
        context = broker.context(identity)         # for aiomqtt's tls_context=
        aiomqtt.Client("127.0.0.1", broker.gateway_port, tls_context=context, ...)

The real authorities, configuration and rights of `aggregator.pki` and `aggregator.broker`. It dies
with the thread that started it, so start it in the main one: no killed test leaves a broker behind.
"""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fakes.processes import wait_until

from aggregator import broker
from aggregator.children.child import command_line
from aggregator.pki.certificates import Authority
from aggregator.pki.folder import PkiFolder, save_identity
from aggregator.serve import broker_child

HOST = "127.0.0.1"
START_S = 15.0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether something accepts connections on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@dataclass
class Broker:
    """A running mosquitto with its authorities; see the top of this file."""

    folder: Path
    settings: broker.BrokerSettings
    pki: PkiFolder
    process: subprocess.Popen[bytes] | None = None
    identities: dict[str, Path] = field(default_factory=dict)

    @property
    def gateway_port(self) -> int:
        return self.settings.gateway_port

    @property
    def central_port(self) -> int:
        return self.settings.central_port

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def broker_folder(self) -> Path:
        return self.folder / "broker"

    def issue(self, gateway_id: str) -> Path:
        """Identity folder of a gateway; the same one when asked again."""
        if gateway_id not in self.identities:
            target = self.folder / "identities" / gateway_id
            save_identity(self.pki.issue(Authority.GATEWAY, gateway_id, _now()), target)
            self.identities[gateway_id] = target
        return self.identities[gateway_id]

    def central(self, name: str) -> Path:
        """Identity folder of a central process such as `_ingest` or `_web`."""
        return self.pki.central(name, _now())

    def context(self, identity: Path) -> ssl.SSLContext:
        """TLS settings of a client that owns this identity folder."""
        return identity_context(identity)

    def log(self) -> str:
        """What the broker said so far, over all its starts."""
        return (self.folder / "broker.log").read_text()

    def start(self) -> None:
        """Write the configuration and start; returns when both listeners accept."""
        child = broker_child(self.folder, self.settings, [], _now())
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                command_line(child),
                cwd=child.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self._is_ready, "broker accepts connections")

    def stop(self) -> None:
        """SIGTERM: sessions and retained messages are saved."""
        self._end(kill=False)

    def kill(self) -> None:
        """SIGKILL: what was not saved is forgotten. Start again by `restart`."""
        self._end(kill=True)

    def restart(self, *, empty: bool = False) -> None:
        """Stop, if it runs, and start on the same ports; `empty` deletes every session and message."""
        self._end(kill=empty)
        if empty:
            (self.broker_folder / broker.DATABASE).unlink(missing_ok=True)
        self.start()

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the broker ended with {self.process.returncode}:\n{self.log()}")
        return is_listening(self.gateway_port) and is_listening(self.central_port)

    def _end(self, *, kill: bool) -> None:
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(START_S)
        self.process = None


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    """A broker with fresh authorities, everything it needs in `folder`; stopped at the end."""
    pki = PkiFolder(folder / "pki")
    if not pki.is_there:
        pki.initialise([], _now())
    settings = broker.BrokerSettings(gateway_port=free_port(), gateway_address=HOST, central_port=free_port())
    running = Broker(folder, settings, pki)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def identity_context(identity: Path) -> ssl.SSLContext:
    """TLS 1.3 with an identity folder: trusts its authority, shows its certificate."""
    context = ssl.create_default_context(cafile=str(identity / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    return context


def _now() -> datetime:
    return datetime.now(UTC)
