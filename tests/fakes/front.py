"""nginx under our configuration, on ports of its own, before a web server of the test.

    with serving(folder, None, *BEHIND) as web, front(folder, web.port) as here:
        here.ask("/api/v1/health")

Only addresses and paths differ from `nginx/`: each replacement must be found, or the test fails.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes.broker import free_port
from fakes.centre import Reply
from fakes.machine import ROOT, need_tools
from fakes.processes import wait_until

PROGRAM = "/usr/sbin/nginx"
BEHIND = ("--behind-proxy", "--host", "localhost")
"""What the web server is started with."""


class Front(NamedTuple):
    """A running nginx."""

    port: int
    clear_port: int
    context: ssl.SSLContext

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection on which nothing was said yet."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def ask(
        self, path: str, *, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request over HTTPS."""
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


def self_signed(now: datetime) -> tuple[bytes, bytes]:
    """Certificate of localhost that vouches for itself, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


@contextmanager
def front(folder: Path, web_port: int) -> Iterator[Front]:
    """nginx as delivered, before the web server on `web_port`."""
    need_tools({"nginx": "nginx"})
    folder = folder / "front"
    folder.mkdir()
    certificate, key = self_signed(datetime.now(UTC))
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    port, clear_port = free_port(), free_port()
    _write(
        folder,
        "feldwarte.conf",
        {
            "server 127.0.0.1:8080 ": f"server 127.0.0.1:{web_port} ",
            "listen 80 ": f"listen 127.0.0.1:{clear_port} ",
            "listen [::]:80 default_server;": "",
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "listen [::]:443 ssl default_server;": "",
            "/run/credentials/feldwarte-front.service/": f"{folder}/",
        },
    )
    _write(
        folder,
        "nginx.conf",
        {
            "/run/feldwarte-front/": f"{folder}/",
            "/tmp/front-": f"{folder}/",
            "/etc/feldwarte/front/": f"{folder}/",
        },
    )
    log = folder / "log"
    # Started by root it would give its workers another account, which cannot read the test's folder.
    account = ["-g", "user root;"] if os.geteuid() == 0 else []
    with log.open("wb") as output:
        nginx = subprocess.Popen(
            [PROGRAM, "-e", "stderr", "-c", folder / "nginx.conf", "-p", folder, *account],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:

        def accepts() -> bool:
            assert nginx.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(accepts, "nginx accepts connections")
        context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        yield Front(port, clear_port, context)
    finally:
        nginx.terminate()
        nginx.wait(20)


def _write(folder: Path, name: str, replacements: dict[str, str]) -> None:
    text = (ROOT / "nginx" / name).read_text()
    for ours, theirs in replacements.items():
        assert ours in text, f"nginx/{name} no longer says {ours!r}"
        text = text.replace(ours, theirs)
    (folder / name).write_text(text)
