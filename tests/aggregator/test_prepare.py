"""What the separate units find before they start."""

import argparse
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aggregator import broker, prepare
from aggregator.config import DataFolder
from aggregator.pki.certificates import NotThere

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


def run(data: Path, *words: str, now: datetime = NOW) -> int:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args(["--data", str(data), *words]), now)


def broker_files(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in DataFolder(data).broker.iterdir()}


def test_it_leaves_all_that_broker_ingest_and_web_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--host", "scada.example.org", "--gateway-port", "18883") == 0
    assert "ready" in capsys.readouterr().out
    folder = DataFolder(tmp_path)
    assert b"listener 18883\n" in broker_files(tmp_path)["mosquitto.conf"]
    assert folder.main.exists()
    assert folder.history.exists()
    for name in ("_ingest", "_web"):
        assert (folder.pki / "central" / name / "key.pem").exists()


def test_a_second_run_renews_the_lists_and_keeps_who_is_who(tmp_path: Path) -> None:
    run(tmp_path)
    before = broker_files(tmp_path)
    run(tmp_path, now=NOW + timedelta(days=1))
    after = broker_files(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "gateway-crl.pem",
        "central-crl.pem",
    }


def test_authorities_that_are_gone_are_not_made_anew(tmp_path: Path) -> None:
    run(tmp_path)
    DataFolder(tmp_path).pki.rename(tmp_path / "elsewhere")
    with pytest.raises(NotThere, match="lock every gateway out"):
        run(tmp_path)


@pytest.mark.parametrize(("mode", "expected"), [(0o2770, 0o640), (0o770, 0o600)])
def test_only_a_folder_that_was_set_up_for_a_group_is_shared_with_it(
    tmp_path: Path, mode: int, expected: int
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    folder.chmod(mode)
    mask = os.umask(0o077)
    try:
        broker.install(folder, broker.BrokerSettings(), {"gateway": broker.Tls(b"a", b"b", b"c", b"d")}, None)
        broker.install_revoked(folder, "gateway", b"e")
    finally:
        os.umask(mask)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        [
            "mosquitto.conf",
            "gateway.acl",
            "gateway-ca.pem",
            "gateway-server.pem",
            "gateway-server.key",
            "gateway-crl.pem",
        ],
        expected,
    )
    assert stat.S_IMODE(folder.stat().st_mode) == (mode if mode & stat.S_ISGID else 0o700)
