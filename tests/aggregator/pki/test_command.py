import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from aggregator.pki import command
from aggregator.pki.certificates import new_key
from aggregator.pki.folder import PkiFolder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def pki(data: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--data", str(data), *words]), NOW)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    assert pki(tmp_path, "init", "--host", "scada.example.org") == 0
    return tmp_path


def test_a_gateway_gets_a_folder_with_all_it_needs(data: Path) -> None:
    assert pki(data, "gateway", "gw-1") == 0
    folder = data / "identities" / "gw-1"
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "certificate.pem", "key.pem"]


def test_a_request_leaves_the_key_where_it_was(data: Path, tmp_path: Path) -> None:
    key = new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    (tmp_path / "gw.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    out = tmp_path / "out"
    assert pki(data, "gateway", "gw-1", "--request", str(tmp_path / "gw.csr"), "--out", str(out)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["ca.pem", "certificate.pem"]
    made = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    assert made.public_key() == key.public_key()


def test_a_second_init_is_refused_with_the_reason(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pki(data, "init") == 1
    assert "lock out every identity" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gw/1", "../gw", "_ingest", "+"])
def test_a_name_that_is_none_is_refused_and_touches_no_file(
    data: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(data.rglob("*"))
    assert pki(data, "gateway", name) == 1
    assert "must match" in capsys.readouterr().err
    assert sorted(data.rglob("*")) == before


def test_revoking_without_a_broker_says_when_it_counts(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pki(data, "gateway", "gw-1")
    assert pki(data, "revoke", "gw-1") == 0
    assert "1 certificates of gw-1 revoked; no broker was running" in capsys.readouterr().out
    assert PkiFolder(data / "pki").issued()[0].revoked == NOW


def test_a_central_name_is_revoked_at_its_own_authority(data: Path) -> None:
    pki(data, "central", "_web")
    assert pki(data, "revoke", "_web") == 0
    assert PkiFolder(data / "pki").issued()[0].revoked == NOW


def test_show_tells_machines_and_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pki(data, "gateway", "gw-1")
    pki(data, "gateway", "gw-2")
    pki(data, "revoke", "gw-2")
    capsys.readouterr()
    assert pki(data, "show") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "until 2027-02-19" in lines[0]
    assert "revoked 2026-11-21" in lines[1]
    assert pki(data, "--json", "show") == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["gw-1", "gw-2"]
