"""What `serve` starts, and what it refuses to start over."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregator import app
from aggregator.app import ServeSettings, children, prepare
from aggregator.broker import BrokerSettings
from aggregator.config import DataFolder
from aggregator.pki.certificates import NotThere

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


def settings(data: Path) -> ServeSettings:
    return ServeSettings(data, web_port=8099, broker=BrokerSettings(gateway_port=18883, central_port=18884))


def test_the_first_start_makes_what_is_needed_and_the_second_keeps_it(tmp_path: Path) -> None:
    prepare(settings(tmp_path), NOW)
    authority = (DataFolder(tmp_path).pki / "gateway-ca.pem").read_bytes()
    prepare(settings(tmp_path), NOW)
    assert (DataFolder(tmp_path).pki / "gateway-ca.pem").read_bytes() == authority


def test_lost_authorities_are_never_replaced_behind_the_gateways_backs(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path).create()
    folder.main.touch()
    with pytest.raises(NotThere, match="lock every gateway out"):
        prepare(settings(tmp_path), NOW)
    assert not folder.pki.exists()


def test_the_broker_starts_first_and_all_meet_at_its_central_listener(tmp_path: Path) -> None:
    prepare(settings(tmp_path), NOW)
    started = children(settings(tmp_path), NOW)
    assert [child.name for child in started] == ["broker", "ingest", "web"]
    assert all("127.0.0.1:18884" in child.argv for child in started[1:])
    assert "127.0.0.1:8099" in started[2].argv


def test_a_public_address_waits_for_the_first_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    app.add_arguments(parser)
    folder = tmp_path / "data"
    assert app.run(parser.parse_args(["--data", str(folder), "--listen", "0.0.0.0:8443"])) == 1
    assert "--listen 127.0.0.1:8443 and open the link" in capsys.readouterr().err
    assert not folder.exists()


def test_the_pages_are_given_the_names_by_which_they_are_reached(tmp_path: Path) -> None:
    prepare(settings(tmp_path), NOW)
    given = settings(tmp_path)._replace(hosts=("scada.example",), is_behind_proxy=True)
    web = children(given, NOW)[2].argv
    assert web[web.index("--host") + 1] == "scada.example"
    assert "--behind-proxy" in web
    assert "--no-invitation" in web  # serve prints it, below all that the others say
