"""Authorities and the record of what they issued, as files in `<data>/pki/`.

    gateway-ca.pem .key       authority of the gateways      central-ca.pem .key   of our processes
    gateway-server.pem .key   the gateways' listener         central-server.pem .key
    gateway-crl.pem           who is refused                 central-crl.pem
    web-ca.pem .key           authority of the pages         web-server.pem .key       their certificate
    issued.json               every client certificate given, and when it was revoked
    central/_ingest/          identity folders: ca.pem certificate.pem key.pem

Files are replaced atomically; keys are 0600, folders 0700. Changes hold a lock, so that two
commands at once lose nothing. Certificates themselves are built in `aggregator.pki.certificates`.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509

from aggregator.pki.certificates import (
    CENTRAL_LIFE,
    GATEWAY_LIFE,
    WEB_LIFE,
    AlreadyThere,
    Authority,
    Issuer,
    NotThere,
    PkiError,
    checked_host,
    checked_name,
    client_certificate,
    hosts_of,
    is_half_spent,
    key_of_request,
    load_issuer,
    new_authority,
    new_key,
    pem_of,
    pem_of_key,
    revocation_list,
    server_certificate,
    web_certificate,
)

_FORMAT = 1

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_LIFE = {Authority.GATEWAY: GATEWAY_LIFE, Authority.CENTRAL: CENTRAL_LIFE}


class Issued(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One client certificate given out."""

    authority: Authority
    name: str
    serial: str
    """Hexadecimal: JSON numbers end at 2^53."""
    not_after: datetime
    revoked: datetime | None = None


class _Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int = _FORMAT
    crl_number: int = 0
    issued: tuple[Issued, ...] = ()


class Identity(NamedTuple):
    """What a client shows and whom it trusts, as PEM texts; `key` is None when it never was here."""

    authority: bytes
    certificate: bytes
    key: bytes | None


class ListenerFiles(NamedTuple):
    """What one listener of the broker needs, as paths."""

    authority: Path
    certificate: Path
    key: Path
    revoked: Path


class WebFiles(NamedTuple):
    """What the pages' own HTTPS needs, as paths; browsers are told to trust `authority`."""

    authority: Path
    certificate: Path
    key: Path


class PkiFolder:
    """The authorities in one folder; times are passed in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_there(self) -> bool:
        return all(self._path(authority, "ca.pem").exists() for authority in Authority)

    def initialise(self, hosts: Sequence[str], now: datetime) -> None:
        """Make both authorities, their listeners' certificates and empty revocation lists.

        Args:
            hosts: names and addresses by which gateways reach the broker; loopback is always added.
            now: aware, UTC.

        Raises:
            AlreadyThere: an authority exists, whole or in part. Nothing is changed.
            NameRefused: a host is neither address nor host name.
        """
        with self._lock():
            for authority in Authority:
                if self._path(authority, "ca.pem").exists() or self._path(authority, "ca.key").exists():
                    raise AlreadyThere(
                        f"{self.folder} holds a {authority} authority; a new one would lock out every "
                        "identity it gave. Move the folder away if that is what you want"
                    )
            hosts = [checked_host(host) for host in hosts]
            for authority in Authority:
                issuer = new_authority(authority, now)
                write_atomically(self._path(authority, "ca.key"), pem_of_key(issuer.key), 0o600)
                write_atomically(self._path(authority, "ca.pem"), pem_of(issuer.certificate), 0o644)
        self.refresh(hosts, now)

    def refresh(self, hosts: Sequence[str], now: datetime) -> None:
        """Renew what a start of the broker needs: listeners' certificates and revocation lists.

        A listener's certificate is made anew when it is missing, half spent, or lacks one of
        `hosts`; hosts it already had stay.
        """
        with self._lock():
            ledger = self._read()
            for authority in Authority:
                self._refresh_server(authority, hosts, now)
            self._write_revoked(ledger, now)

    def issue(self, authority: Authority, name: str, now: datetime, request: bytes | None = None) -> Identity:
        """A new certificate for `name`; earlier ones stay valid until they expire or are revoked.

        Args:
            authority: who vouches.
            name: what the certificate will say, whatever the request claims.
            now: aware, UTC.
            request: PEM signing request; without one the key is made here and returned.

        Raises:
            NameRefused: see `checked_name`.
            RequestRefused: see `key_of_request`.
            NotThere: no authority yet.
        """
        checked_name(authority, name)
        key = None if request is not None else new_key()
        public = key.public_key() if key is not None else key_of_request(request or b"")
        with self._lock():
            issuer = self._issuer(authority)
            certificate = client_certificate(issuer, public, name, now, _LIFE[authority])
            entry = Issued(authority, name, f"{certificate.serial_number:x}", certificate.not_valid_after_utc)
            ledger = self._read()
            # Recorded before it is given: a certificate that nobody can revoke must not exist.
            self._write(msgspec.structs.replace(ledger, issued=(*ledger.issued, entry)))
        return Identity(
            pem_of(issuer.certificate), pem_of(certificate), pem_of_key(key) if key is not None else None
        )

    def central(self, name: str, now: datetime) -> Path:
        """Identity folder of a central process on this host, issued or renewed when needed."""
        target = self.folder / "central" / checked_name(Authority.CENTRAL, name)
        certificate = target / "certificate.pem"
        if certificate.exists():
            held = x509.load_pem_x509_certificate(certificate.read_bytes())
            if not is_half_spent(held, CENTRAL_LIFE, now) and not self._is_revoked(held):
                return target
        save_identity(self.issue(Authority.CENTRAL, name, now), target)
        return target

    def revoke(self, authority: Authority, name: str, now: datetime) -> tuple[Issued, ...]:
        """Refuse every certificate of `name` from now on; returns those newly refused.

        The broker does not know yet: it reads the lists when it starts.

        Raises:
            NotThere: nobody of that name holds a certificate.
        """
        with self._lock():
            ledger = self._read()
            if not any(self._holds(entry, authority, name) for entry in ledger.issued):
                raise NotThere(f"{name!r} holds no {authority} certificate; `pki show` lists who does")
            entries = tuple(
                msgspec.structs.replace(entry, revoked=now)
                if self._holds(entry, authority, name) and entry.revoked is None
                else entry
                for entry in ledger.issued
            )
            fresh = tuple(new for new, old in zip(entries, ledger.issued, strict=True) if new is not old)
            self._write_revoked(msgspec.structs.replace(ledger, issued=entries), now)
        return fresh

    def issued(self) -> tuple[Issued, ...]:
        """Every certificate on record, oldest first."""
        return self._read().issued

    def listener(self, authority: Authority) -> ListenerFiles:
        """Files of the listener on which this authority's identities are accepted."""
        return ListenerFiles(
            self._path(authority, "ca.pem"),
            self._path(authority, "server.pem"),
            self._path(authority, "server.key"),
            self._path(authority, "crl.pem"),
        )

    def web(self, hosts: Sequence[str], now: datetime) -> WebFiles:
        """Certificate of the pages, and the authority behind it; made or renewed when needed.

        The authority is one of its own: what people add to their browsers must not be what vouches
        for gateways. The certificate is made anew when it is missing, half spent, or lacks one of
        `hosts`; hosts it already had stay, loopback is always one.

        Raises:
            NameRefused: a host is neither address nor host name.
        """
        files = WebFiles(
            self._path("web", "ca.pem"), self._path("web", "server.pem"), self._path("web", "server.key")
        )
        key_of_authority = self._path("web", "ca.key")
        with self._lock():
            if not files.authority.exists():
                issuer = new_authority("web", now)
                write_atomically(key_of_authority, pem_of_key(issuer.key), 0o600)
                write_atomically(files.authority, pem_of(issuer.certificate), 0o644)
            wanted = [checked_host(host) for host in (*LOOPBACK, *hosts)]
            if files.certificate.exists() and files.key.exists():
                held = x509.load_pem_x509_certificate(files.certificate.read_bytes())
                known = hosts_of(held)
                if set(wanted) <= known and not is_half_spent(held, WEB_LIFE, now):
                    return files
                wanted += sorted(known)
            issuer = load_issuer(files.authority.read_bytes(), key_of_authority.read_bytes())
            key = new_key()
            made = web_certificate(issuer, key.public_key(), list(dict.fromkeys(wanted)), now)
            self._replace_pair(files.certificate, files.key, pem_of(made), pem_of_key(key))
        return files

    def _refresh_server(self, authority: Authority, hosts: Sequence[str], now: datetime) -> None:
        issuer = self._issuer(authority)
        certificate, key = self._path(authority, "server.pem"), self._path(authority, "server.key")
        wanted = [checked_host(host) for host in (*LOOPBACK, *hosts)]
        if certificate.exists() and key.exists():
            held = x509.load_pem_x509_certificate(certificate.read_bytes())
            known = hosts_of(held)
            if set(wanted) <= known and not is_half_spent(held, CENTRAL_LIFE, now):
                return
            wanted += sorted(known)
        server_key = new_key()
        made = server_certificate(issuer, server_key.public_key(), list(dict.fromkeys(wanted)), now)
        self._replace_pair(certificate, key, pem_of(made), pem_of_key(server_key))

    @staticmethod
    def _replace_pair(certificate: Path, key: Path, new_certificate: bytes, new_key: bytes) -> None:
        # A kill between the two leaves a pair that does not match: the certificate goes first, so
        # that the next refresh sees it missing and makes both again.
        certificate.unlink(missing_ok=True)
        write_atomically(key, new_key, 0o600)
        write_atomically(certificate, new_certificate, 0o644)

    def _write_revoked(self, ledger: _Ledger, now: datetime) -> None:
        ledger = msgspec.structs.replace(ledger, crl_number=ledger.crl_number + 1)
        self._write(ledger)
        for authority in Authority:
            revoked = [
                (int(entry.serial, 16), entry.revoked)
                for entry in ledger.issued
                if entry.authority is authority and entry.revoked is not None and entry.not_after > now
            ]
            crl = revocation_list(self._issuer(authority), revoked, ledger.crl_number, now)
            write_atomically(self._path(authority, "crl.pem"), pem_of(crl), 0o644)

    def _is_revoked(self, certificate: x509.Certificate) -> bool:
        serial = f"{certificate.serial_number:x}"
        return any(entry.serial == serial and entry.revoked is not None for entry in self._read().issued)

    @staticmethod
    def _holds(entry: Issued, authority: Authority, name: str) -> bool:
        return entry.authority is authority and entry.name == name

    def _issuer(self, authority: Authority) -> Issuer:
        try:
            return load_issuer(
                self._path(authority, "ca.pem").read_bytes(), self._path(authority, "ca.key").read_bytes()
            )
        except FileNotFoundError as err:
            raise NotThere(f"{self.folder} holds no {authority} authority; run `pki init`") from err

    def _path(self, authority: str, what: str) -> Path:
        return self.folder / f"{authority}-{what}"

    def _read(self) -> _Ledger:
        try:
            ledger = msgspec.json.decode((self.folder / "issued.json").read_bytes(), type=_Ledger)
        except FileNotFoundError:
            return _Ledger()
        except msgspec.DecodeError as err:
            raise PkiError(f"{self.folder / 'issued.json'}: {err}; restore it from the backup") from err
        if ledger.format != _FORMAT:
            raise PkiError(
                f"{self.folder / 'issued.json'} has format {ledger.format}, this program knows {_FORMAT}; "
                "run the program that wrote it"
            )
        return ledger

    def _write(self, ledger: _Ledger) -> None:
        text = msgspec.json.format(msgspec.json.encode(ledger), indent=1)
        write_atomically(self.folder / "issued.json", text, 0o600)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        private_folder(self.folder)
        with (self.folder / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def save_identity(identity: Identity, target: Path) -> None:
    """Write an identity folder: `ca.pem`, `certificate.pem` and, if the key was made here, `key.pem`.

    The key goes first and the certificate last: whoever finds a certificate finds all of it.
    """
    private_folder(target)
    (target / "certificate.pem").unlink(missing_ok=True)
    if identity.key is not None:
        write_atomically(target / "key.pem", identity.key, 0o600)
    write_atomically(target / "ca.pem", identity.authority, 0o644)
    write_atomically(target / "certificate.pem", identity.certificate, 0o644)


def private_folder(folder: Path) -> None:
    """Make the folder with its parents, readable by its owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one, on disk."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), mode)
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
