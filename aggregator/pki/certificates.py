"""X.509 certificates and revocation lists: keys, names and the time in, certificates out.

No files, no clock. ECDSA P-256 throughout: small, everywhere supported, also by key tokens.
Where they are kept and who was issued what: `aggregator.pki.folder`.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SINCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Start of validity of authorities, server certificates and revocation lists.

A gateway that boots without a battery-backed clock must still find the centre trustworthy, and a
centre whose clock is set back must not lock its gateways out.
"""

AUTHORITY_LIFE = timedelta(days=30 * 365)
CENTRAL_LIFE = timedelta(days=10 * 365)
"""Servers and central processes: their keys lie beside the authority's; a shorter life adds only failures."""
GATEWAY_LIFE = timedelta(days=90)
WEB_LIFE = timedelta(days=397)
"""Of the pages' certificate: browsers refuse server certificates that are good for many years."""
CLOCK_SLACK = timedelta(hours=1)
"""A certificate is valid this long before it was made, for clocks that run behind."""


# PkiError
# ├── NameRefused        not a name this authority gives; choose another
# ├── RequestRefused     the signing request is broken or its key unsuitable; make a new one
# ├── AlreadyThere       an authority exists and is never overwritten
# └── NotThere           no authority, or nobody of that name; `pki init` or `pki show`
class PkiError(Exception):
    """Root of what goes wrong here; the message names the way out."""


class NameRefused(PkiError):
    """The name is none this authority gives."""


class RequestRefused(PkiError):
    """The signing request is broken, or its key is of the wrong kind."""


class AlreadyThere(PkiError):
    """An authority stands here and is never overwritten."""


class NotThere(PkiError):
    """There is no such authority or no such name."""


class Authority(StrEnum):
    """The two worlds that never meet: a certificate of one is nothing to the other."""

    GATEWAY = "gateway"
    CENTRAL = "central"


_NAMES = {
    # No "+", "#" or "/": the name becomes a level of MQTT topics.
    Authority.GATEWAY: re.compile(r"[a-z0-9-]{1,64}"),
    # The underscore, which no gateway may have, keeps the two apart even in a shared name space.
    Authority.CENTRAL: re.compile(r"_[a-z0-9]{1,30}"),
}


class Issuer(NamedTuple):
    """An authority's certificate with the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def checked_name(authority: Authority, name: str) -> str:
    """The name, if this authority gives such names.

    Raises:
        NameRefused: with the pattern that would be accepted.
    """
    if not _NAMES[authority].fullmatch(name):
        raise NameRefused(f"{name!r} is no {authority} name; it must match {_NAMES[authority].pattern}")
    return name


def checked_host(host: str) -> str:
    """The host name or address in the form certificates carry it.

    Raises:
        NameRefused: it is neither.
    """
    return str(_general_name(host).value)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Unencrypted PKCS #8; the folder's rights guard it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem_of(certificate: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """PEM text of a certificate or revocation list."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def load_issuer(certificate: bytes, key: bytes) -> Issuer:
    """Authority from its two PEM texts.

    Raises:
        PkiError: the key is not P-256.
    """
    loaded = serialization.load_pem_private_key(key, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise PkiError("an authority's key is not on an elliptic curve; restore the folder from its backup")
    return Issuer(x509.load_pem_x509_certificate(certificate), loaded)


def new_authority(authority: str, now: datetime) -> Issuer:
    """Self-signed root that signs leaves only; `authority` is for who reads its name."""
    key = new_key()
    # The number tells two sites' authorities apart in logs; trust rests on the key alone.
    subject = _subject(f"Feldwarte {authority} authority {x509.random_serial_number():x}"[:64])
    certificate = (
        _builder(subject, subject, key.public_key(), SINCE, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate, key)


def server_certificate(
    issuer: Issuer, public_key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: datetime
) -> x509.Certificate:
    """Certificate of a listener, valid for each host name or address given.

    Raises:
        NameRefused: a host is neither an IP address nor a host name.
    """
    return (
        _leaf(issuer, public_key, _subject("Feldwarte broker"), SINCE, now + CENTRAL_LIFE)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def web_certificate(
    issuer: Issuer, public_key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: datetime
) -> x509.Certificate:
    """Certificate of the pages, valid for each host name or address given.

    Raises:
        NameRefused: a host is neither an IP address nor a host name.
    """
    return (
        _leaf(issuer, public_key, _subject("Feldwarte web"), now - CLOCK_SLACK, now + WEB_LIFE)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 as browsers show it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def client_certificate(
    issuer: Issuer,
    public_key: ec.EllipticCurvePublicKey,
    name: str,
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """Certificate by which a gateway or a central process is known; `name` has been checked."""
    return (
        _leaf(issuer, public_key, _subject(name), now - CLOCK_SLACK, now + life)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def key_of_request(request: bytes) -> ec.EllipticCurvePublicKey:
    """Public key of a PEM signing request that proves possession of it.

    Everything else in the request is left aside: name, validity and extensions are ours to say.

    Raises:
        RequestRefused: unreadable, signature wrong, or the key not on P-256.
    """
    try:
        csr = x509.load_pem_x509_csr(request)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as err:
        raise RequestRefused(f"the signing request cannot be read: {err}") from err
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestRefused("the signing request's key is not ECDSA P-256; make it with that curve")
    if not signed:
        raise RequestRefused("the signing request is not signed by its own key; make a new one")
    return key


def revocation_list(
    issuer: Issuer, revoked: Iterable[tuple[int, datetime]], number: int, now: datetime
) -> x509.CertificateRevocationList:
    """Signed list of (serial, when), number `number`.

    It stays valid as long as the authority: OpenSSL refuses every client once a list is out of
    date, and this one lies beside the broker, so its date tells nothing that the file does not.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(SINCE)
        .next_update(max(issuer.certificate.not_valid_after_utc, now + CENTRAL_LIFE))
        .add_extension(_authority_key(issuer), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, when in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
        )
    return builder.sign(issuer.key, hashes.SHA256())


def hosts_of(certificate: x509.Certificate) -> set[str]:
    """Host names and addresses a server certificate is valid for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def is_half_spent(certificate: x509.Certificate, life: timedelta, now: datetime) -> bool:
    """Whether less than half of `life` remains."""
    return certificate.not_valid_after_utc - now < life / 2


def _leaf(
    issuer: Issuer, key: ec.EllipticCurvePublicKey, subject: x509.Name, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        _builder(subject, issuer.certificate.subject, key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_authority_key(issuer), critical=False)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_key(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
        raise NameRefused(f"{host!r} is neither an IP address nor a host name")
    return x509.DNSName(host.lower())
