"""The judge here is OpenSSL through the standard library, not the library that made the certificates."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from aggregator.pki.certificates import (
    GATEWAY_LIFE,
    SINCE,
    Authority,
    Issuer,
    NameRefused,
    RequestRefused,
    checked_host,
    checked_name,
    client_certificate,
    key_of_request,
    new_authority,
    new_key,
    pem_of,
    pem_of_key,
    revocation_list,
    server_certificate,
)

NOW = datetime.now(UTC).replace(microsecond=0)


class Party:
    """One end of a handshake: an authority it trusts, a certificate it shows."""

    def __init__(
        self, folder: Path, trusted: Issuer, shown: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        folder.mkdir()
        self.authority = folder / "ca.pem"
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        self.authority.write_bytes(pem_of(trusted.certificate))
        self.certificate.write_bytes(pem_of(shown))
        self.key.write_bytes(pem_of_key(key))

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=str(self.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(self.certificate, self.key)
        return context


def server(tmp_path: Path, issuer: Issuer, hosts: tuple[str, ...] = ("localhost", "10.0.0.7")) -> Party:
    key = new_key()
    return Party(tmp_path / "server", issuer, server_certificate(issuer, key.public_key(), hosts, NOW), key)


def client(tmp_path: Path, issuer: Issuer, name: str = "gw-1", trusted: Issuer | None = None) -> Party:
    key = new_key()
    certificate = client_certificate(issuer, key.public_key(), name, NOW, GATEWAY_LIFE)
    return Party(tmp_path / name, trusted or issuer, certificate, key)


def shake_hands(
    ours: Party, theirs: Party, host: str = "localhost", crl: Path | None = None
) -> tuple[str | None, str]:
    """Handshake in memory; gives TLS version and the common name the server saw."""
    server_side = ours.context(ssl.Purpose.CLIENT_AUTH)
    server_side.verify_mode = ssl.CERT_REQUIRED
    if crl is not None:
        server_side.load_verify_locations(crl)
        server_side.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    client_side = theirs.context(ssl.Purpose.SERVER_AUTH)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client_side.wrap_bio(down, up, server_hostname=host)
    callee = server_side.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (caller, callee):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    peer = callee.getpeercert()
    assert peer
    subject: tuple[tuple[tuple[str, str], ...], ...] = peer["subject"]  # type: ignore[assignment]  # typeshed: any of four shapes
    return caller.version(), dict(part[0] for part in subject)["commonName"]


@pytest.fixture(scope="module")
def gateways() -> Issuer:
    return new_authority(Authority.GATEWAY, NOW)


@pytest.fixture(scope="module")
def centre() -> Issuer:
    return new_authority(Authority.CENTRAL, NOW)


@pytest.mark.parametrize("host", ["localhost", "10.0.0.7"])
def test_gateway_and_broker_trust_each_other(tmp_path: Path, gateways: Issuer, host: str) -> None:
    assert shake_hands(server(tmp_path, gateways), client(tmp_path, gateways), host) == ("TLSv1.3", "gw-1")


def test_a_broker_of_another_name_is_not_ours(tmp_path: Path, gateways: Issuer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server(tmp_path, gateways), client(tmp_path, gateways), "elsewhere.example")


def test_a_gateway_cannot_pose_as_the_broker(tmp_path: Path, gateways: Issuer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake_hands(client(tmp_path, gateways, "localhost"), client(tmp_path, gateways))


def test_a_broker_cannot_pose_as_a_gateway(tmp_path: Path, gateways: Issuer) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake_hands(server(tmp_path, gateways), server(tmp_path / "other", gateways))


def test_a_central_certificate_is_nothing_to_the_gateways_listener(
    tmp_path: Path, gateways: Issuer, centre: Issuer
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server(tmp_path, gateways), client(tmp_path, centre, "_ingest", trusted=gateways))


def test_another_authority_of_the_same_name_is_a_stranger(tmp_path: Path, gateways: Issuer) -> None:
    key = new_key()
    rogue = Issuer(gateways.certificate, key)  # our name, their key
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server(tmp_path, gateways), client(tmp_path, rogue, trusted=gateways))


def test_a_gateway_cannot_vouch_for_others(tmp_path: Path, gateways: Issuer) -> None:
    key = new_key()
    mine = client_certificate(gateways, key.public_key(), "gw-1", NOW, GATEWAY_LIFE)
    child = client(tmp_path, Issuer(mine, key), "gw-2", trusted=gateways)
    child.certificate.write_bytes(child.certificate.read_bytes() + pem_of(mine))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"invalid CA certificate|unable to get"):
        shake_hands(server(tmp_path, gateways), child)


def test_a_revoked_gateway_is_refused_and_its_neighbour_is_not(tmp_path: Path, gateways: Issuer) -> None:
    ours, revoked, fine = server(tmp_path, gateways), client(tmp_path, gateways), None
    serial = x509.load_pem_x509_certificate(revoked.certificate.read_bytes()).serial_number
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pem_of(revocation_list(gateways, [(serial, NOW)], 1, NOW)))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake_hands(ours, revoked, crl=crl)
    fine = client(tmp_path, gateways, "gw-2")
    assert shake_hands(ours, fine, crl=crl) == ("TLSv1.3", "gw-2")


def test_an_empty_revocation_list_refuses_nobody(tmp_path: Path, gateways: Issuer) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pem_of(revocation_list(gateways, [], 1, NOW)))
    assert shake_hands(server(tmp_path, gateways), client(tmp_path, gateways), crl=crl)[1] == "gw-1"


def test_clocks_that_stand_wrong_lock_nobody_out(gateways: Issuer) -> None:
    listener = server_certificate(gateways, new_key().public_key(), ["localhost"], NOW)
    crl = revocation_list(gateways, [], 1, NOW)
    assert gateways.certificate.not_valid_before_utc == listener.not_valid_before_utc == SINCE
    assert crl.last_update_utc == SINCE
    assert crl.next_update_utc is not None
    assert crl.next_update_utc >= gateways.certificate.not_valid_after_utc > NOW + timedelta(days=20 * 365)


def test_a_gateway_certificate_lives_ninety_days(gateways: Issuer) -> None:
    made = client_certificate(gateways, new_key().public_key(), "gw-1", NOW, GATEWAY_LIFE)
    assert made.not_valid_after_utc == NOW + timedelta(days=90)
    assert made.not_valid_before_utc == NOW - timedelta(hours=1)


@pytest.mark.parametrize("name", ["a", "gw-1", "aggregator", "ingest", "0", "-", "x" * 64])
def test_names_a_gateway_may_have(name: str) -> None:
    assert checked_name(Authority.GATEWAY, name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "+",
        "#",
        "gw+",
        "gw/1",
        "a/b",
        "../x",
        "_ingest",
        "GW",
        "gw 1",
        "gw\n",
        "gw\0",
        "ü",
        "$SYS",
    ],
)
def test_names_a_gateway_may_not_have(name: str) -> None:
    with pytest.raises(NameRefused, match="must match"):
        checked_name(Authority.GATEWAY, name)


@pytest.mark.parametrize("name", ["_", "ingest", "_Web", "_a b", "_" + "x" * 31, "_web\n", "_a/b", "_+"])
def test_names_a_central_process_may_not_have(name: str) -> None:
    with pytest.raises(NameRefused):
        checked_name(Authority.CENTRAL, name)


@pytest.mark.parametrize("host", ["", "a b", "*.example.org", "ex/ample", "-x", "x\n"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(NameRefused):
        checked_host(host)


def test_hosts_are_written_one_way() -> None:
    assert checked_host("0:0::1") == "::1"
    assert checked_host("SCADA.Example.org") == "scada.example.org"


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A signing request that claims to be the aggregator, and an authority."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aggregator")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def test_a_request_gets_the_name_we_say_and_no_authority(gateways: Issuer) -> None:
    key = new_key()
    public = key_of_request(request(key))
    made = client_certificate(gateways, public, "gw-1", NOW, GATEWAY_LIFE)
    assert public == key.public_key()
    assert made.subject.rfc4514_string() == "CN=gw-1"
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_a_request_whose_signature_is_broken_is_refused() -> None:
    der = x509.load_pem_x509_csr(request(new_key())).public_bytes(serialization.Encoding.DER)
    broken = der[:-1] + bytes([der[-1] ^ 1])
    pem = ssl.DER_cert_to_PEM_cert(broken).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    with pytest.raises(RequestRefused, match="not signed by its own key"):
        key_of_request(pem.encode())


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
def test_a_request_with_another_kind_of_key_is_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    with pytest.raises(RequestRefused, match="P-256"):
        key_of_request(request(key))


def test_a_request_that_is_none_is_refused() -> None:
    with pytest.raises(RequestRefused, match="cannot be read"):
        key_of_request(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
