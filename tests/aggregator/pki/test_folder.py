import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aggregator.pki.certificates import (
    CENTRAL_LIFE,
    AlreadyThere,
    Authority,
    NameRefused,
    NotThere,
    PkiError,
    hosts_of,
)
from aggregator.pki.folder import PkiFolder, WebFiles, save_identity, write_atomically

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.fixture
def pki(tmp_path: Path) -> PkiFolder:
    made = PkiFolder(tmp_path / "data" / "pki")
    made.initialise(["scada.example.org", "192.0.2.7"], NOW)
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def refused(pki: PkiFolder, authority: Authority) -> set[str]:
    crl = x509.load_pem_x509_crl(pki.listener(authority).revoked.read_bytes())
    return {f"{entry.serial_number:x}" for entry in crl}


def test_both_listeners_are_ready_and_know_their_names(pki: PkiFolder) -> None:
    for authority in Authority:
        listener = pki.listener(authority)
        shown = certificate(listener.certificate)
        shown.verify_directly_issued_by(certificate(listener.authority))
        assert hosts_of(shown) == {"127.0.0.1", "::1", "localhost", "scada.example.org", "192.0.2.7"}
        assert refused(pki, authority) == set()
    assert pki.is_there


def test_keys_are_for_the_owner_alone(pki: PkiFolder, tmp_path: Path) -> None:
    save_identity(pki.issue(Authority.GATEWAY, "gw-1", NOW), tmp_path / "out" / "gw-1")
    keys = [*tmp_path.rglob("*.key"), *tmp_path.rglob("key.pem"), pki.folder / "issued.json"]
    assert len(keys) == 6
    assert {mode(path) for path in keys} == {0o600}
    assert mode(pki.folder) == mode(tmp_path / "out" / "gw-1") == 0o700


def test_an_authority_is_never_overwritten(pki: PkiFolder) -> None:
    before = files(pki.folder)
    with pytest.raises(AlreadyThere, match="lock out every identity"):
        pki.initialise([], NOW)
    assert files(pki.folder) == before


def test_half_an_authority_is_not_overwritten_either(pki: PkiFolder) -> None:
    for name in ("gateway-ca.pem", "central-ca.pem", "gateway-ca.key"):
        (pki.folder / name).unlink()
    before = files(pki.folder)
    with pytest.raises(AlreadyThere):
        pki.initialise([], NOW)
    assert files(pki.folder) == before


def test_a_bad_host_name_leaves_nothing_behind(tmp_path: Path) -> None:
    pki = PkiFolder(tmp_path / "pki")
    with pytest.raises(NameRefused):
        pki.initialise(["not a host"], NOW)
    assert not pki.is_there
    pki.initialise([], NOW)


def test_without_authority_nothing_is_issued(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="pki init"):
        PkiFolder(tmp_path).issue(Authority.GATEWAY, "gw-1", NOW)


def test_what_is_issued_is_on_record(pki: PkiFolder) -> None:
    made = x509.load_pem_x509_certificate(pki.issue(Authority.GATEWAY, "gw-1", NOW).certificate)
    (entry,) = pki.issued()
    assert (entry.authority, entry.name, entry.revoked) == (Authority.GATEWAY, "gw-1", None)
    assert int(entry.serial, 16) == made.serial_number
    assert entry.not_after == made.not_valid_after_utc == NOW + timedelta(days=90)


def test_a_refused_name_leaves_no_record(pki: PkiFolder) -> None:
    with pytest.raises(NameRefused):
        pki.issue(Authority.GATEWAY, "gw/+", NOW)
    assert pki.issued() == ()


def test_many_at_once_lose_no_record(pki: PkiFolder) -> None:
    names = [f"gw-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: PkiFolder(pki.folder).issue(Authority.GATEWAY, name, NOW), names))
    assert sorted(entry.name for entry in pki.issued()) == sorted(names)


def test_revoking_refuses_every_certificate_of_the_name_and_no_other(pki: PkiFolder) -> None:
    for name in ("gw-1", "gw-1", "gw-2"):
        pki.issue(Authority.GATEWAY, name, NOW)
    pki.issue(Authority.CENTRAL, "_ingest", NOW)
    fresh = pki.revoke(Authority.GATEWAY, "gw-1", NOW)
    assert {entry.serial for entry in fresh} == refused(pki, Authority.GATEWAY)
    assert [entry.revoked for entry in pki.issued()] == [NOW, NOW, None, None]
    assert refused(pki, Authority.CENTRAL) == set()


def test_revoking_again_keeps_the_first_time(pki: PkiFolder) -> None:
    pki.issue(Authority.GATEWAY, "gw-1", NOW)
    pki.revoke(Authority.GATEWAY, "gw-1", NOW)
    assert pki.revoke(Authority.GATEWAY, "gw-1", NOW + timedelta(days=1)) == ()
    assert pki.issued()[0].revoked == NOW
    assert len(refused(pki, Authority.GATEWAY)) == 1


def test_revoking_nobody_says_so(pki: PkiFolder) -> None:
    pki.issue(Authority.GATEWAY, "gw-1", NOW)
    with pytest.raises(NotThere, match="gw-9"):
        pki.revoke(Authority.GATEWAY, "gw-9", NOW)


def test_lists_are_numbered_upwards_and_forget_what_expired(pki: PkiFolder) -> None:
    def number() -> int:
        crl = x509.load_pem_x509_crl(pki.listener(Authority.GATEWAY).revoked.read_bytes())
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    pki.issue(Authority.GATEWAY, "gw-1", NOW)
    pki.revoke(Authority.GATEWAY, "gw-1", NOW)
    first = number()
    pki.refresh([], NOW + timedelta(days=89))
    assert len(refused(pki, Authority.GATEWAY)) == 1
    pki.refresh([], NOW + timedelta(days=91))
    assert refused(pki, Authority.GATEWAY) == set()
    assert number() > first


def test_a_start_keeps_good_listener_certificates(pki: PkiFolder) -> None:
    before = {
        authority: files(pki.folder)[str(pki.listener(authority).certificate)] for authority in Authority
    }
    pki.refresh(["SCADA.example.org"], NOW + CENTRAL_LIFE / 2)
    assert {
        authority: files(pki.folder)[str(pki.listener(authority).certificate)] for authority in Authority
    } == before


@pytest.mark.parametrize(
    ("hosts", "later"), [(["new.example.org"], timedelta(0)), ([], CENTRAL_LIFE / 2 + timedelta(seconds=1))]
)
def test_a_start_renews_what_lacks_a_name_or_is_half_spent(
    pki: PkiFolder, hosts: list[str], later: timedelta
) -> None:
    listener = pki.listener(Authority.GATEWAY)
    before = certificate(listener.certificate)
    pki.refresh(hosts, NOW + later)
    after = certificate(listener.certificate)
    assert after.serial_number != before.serial_number
    assert hosts_of(after) == hosts_of(before) | set(hosts)
    assert after.not_valid_after_utc == NOW + later + CENTRAL_LIFE


def test_a_central_identity_is_kept_until_half_spent_or_revoked(pki: PkiFolder) -> None:
    folder = pki.central("_web", NOW)
    first = certificate(folder / "certificate.pem")
    assert certificate(pki.central("_web", NOW) / "certificate.pem") == first
    pki.revoke(Authority.CENTRAL, "_web", NOW)
    second = certificate(pki.central("_web", NOW) / "certificate.pem")
    assert second != first
    third = certificate(pki.central("_web", NOW + CENTRAL_LIFE * 0.6) / "certificate.pem")
    assert third != second


def test_a_record_of_another_format_is_left_alone(pki: PkiFolder) -> None:
    (pki.folder / "issued.json").write_text('{"format": 2}')
    with pytest.raises(PkiError, match="format 2, this program knows 1"):
        pki.issue(Authority.GATEWAY, "gw-1", NOW)
    assert (pki.folder / "issued.json").read_text() == '{"format": 2}'


def test_a_damaged_record_is_said_to_be_damaged(pki: PkiFolder) -> None:
    (pki.folder / "issued.json").write_text('{"format": 1, "issued"')
    with pytest.raises(PkiError, match=r"issued\.json.*backup"):
        pki.issued()


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old", 0o600)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"new", 0o600)
    assert files(tmp_path) == {str(target): b"old"}


# --- The pages' own HTTPS --------------------------------------------------------------------


def shown(of: WebFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(of.certificate.read_bytes())


def test_the_pages_have_an_authority_of_their_own(pki: PkiFolder) -> None:
    made = pki.web(["scada.example", "192.0.2.7"], NOW)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    shown(made).verify_directly_issued_by(authority)
    for other in Authority:
        assert pki.listener(other).authority.read_bytes() != made.authority.read_bytes()
    assert hosts_of(shown(made)) == {"127.0.0.1", "::1", "localhost", "scada.example", "192.0.2.7"}
    assert {mode(made.key), mode(pki.folder / "web-ca.key")} == {0o600}
    life = shown(made).not_valid_after_utc - shown(made).not_valid_before_utc
    assert life < timedelta(days=398)  # longer ones are refused by some browsers


def test_the_pages_certificate_is_kept_until_it_grows_old_or_lacks_a_name(pki: PkiFolder) -> None:
    first = pki.web(["a.example"], NOW)
    authority, certificate = first.authority.read_bytes(), shown(first)
    assert shown(pki.web([], NOW + timedelta(days=190))) == certificate
    second = shown(pki.web(["b.example"], NOW + timedelta(days=1)))
    assert {"a.example", "b.example"} <= hosts_of(second)
    third = shown(pki.web([], NOW + timedelta(days=201)))
    assert third.not_valid_after_utc == NOW + timedelta(days=201 + 397)
    assert hosts_of(third) == hosts_of(second)
    assert first.authority.read_bytes() == authority


def test_a_pair_cut_in_the_middle_is_made_again(pki: PkiFolder) -> None:
    made = pki.web([], NOW)
    made.certificate.unlink()
    key = made.key.read_bytes()
    again = pki.web([], NOW)
    assert again.key.read_bytes() != key
    assert shown(again).public_key() == load_pem_private_key(again.key.read_bytes(), None).public_key()


def test_a_name_that_is_none_is_refused_before_the_pages_are_served(pki: PkiFolder) -> None:
    with pytest.raises(NameRefused):
        pki.web(["not a host"], NOW)
