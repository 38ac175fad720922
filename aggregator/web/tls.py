"""HTTPS of the pages: TLS 1.2 or 1.3 with a certificate of our own authority, renewed while running."""

import ssl
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from aggregator.pki.certificates import fingerprint
from aggregator.pki.folder import PkiFolder, WebFiles

LOOK_S: Final = 3600.0
"""How often to look whether the certificate grows old."""


class WebCertificate:
    """What each connection is opened with.

    Args:
        pki: keeps the authority; its key must be readable.
        hosts: names and addresses that the certificate is to be good for, loopback aside.

    Raises:
        PkiError: a host is neither address nor host name.
    """

    def __init__(self, pki: PkiFolder, hosts: Sequence[str]) -> None:
        self._pki, self._hosts = pki, hosts
        self._looking = threading.Lock()
        self._renew()

    def context(self, _configuration: object, _its_own: object) -> ssl.SSLContext:
        """For one connection; gunicorn asks for each, and would make one of its own."""
        with self._looking:
            if time.monotonic() - self._looked_s > LOOK_S:
                self._renew()
            return self._context

    def files(self) -> dict[str, str]:
        """Certificate and key, by gunicorn's names for them."""
        return {"certfile": str(self._files.certificate), "keyfile": str(self._files.key)}

    def told(self) -> str:
        """What whoever opens the pages for the first time compares."""
        authority, certificate = (
            fingerprint(x509.load_pem_x509_certificate(path.read_bytes())) for path in self._files[:2]
        )
        return (
            f"HTTPS by our own authority; browsers trust {self._files.authority} once it is imported\n"
            f"    authority    SHA-256 {authority}\n"
            f"    certificate  SHA-256 {certificate}"
        )

    def _renew(self) -> None:
        self._files: WebFiles = self._pki.web(self._hosts, datetime.now(UTC))
        self._looked_s = time.monotonic()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        self._context.load_cert_chain(self._files.certificate, self._files.key)
