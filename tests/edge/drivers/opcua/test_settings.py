"""Settings that do not go together, node ids that are none."""

from pathlib import Path
from typing import Any

import pytest

from contract.model.config import ConfigurationError
from contract.model.signal import DataType
from edge.drivers import parse_address, parse_settings
from edge.drivers.opcua.settings import node_name, secret_file

FILES = {"certificate": "/a.der", "private_key": "/k.pem", "server_certificate": "/s.der"}
URL = {"url": "opc.tcp://plc:4840"}


@pytest.mark.parametrize(
    "settings",
    [
        URL | {"security": "none"},
        URL | FILES | {"security": "Basic256Sha256"},
        URL | FILES | {"security": "Basic256Sha256", "user": "me", "password_file": "/p"},
    ],
)
def test_what_goes(settings: dict[str, Any]) -> None:
    parse_settings("opcua", settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (URL, "security"),  # it is said, never assumed
        (URL | {"security": "Basic128Rsa15"}, "not one of"),  # broken, and known to be
        (URL | {"security": "Basic256Sha256"}, "needs certificate, private_key, server_certificate"),
        (URL | FILES | {"security": "none"}, "uses no certificate"),
        (URL | {"security": "none", "user": "me", "password_file": "/p"}, "encrypted"),
        (URL | FILES | {"security": "Basic256Sha256", "user": "me"}, "go together"),
        (
            URL | FILES | {"security": "Basic256Sha256", "mode": "Sign", "user": "me", "password_file": "/p"},
            "SignAndEncrypt",
        ),
        ({"url": "opc.tcp://me:secret@plc", "security": "none"}, "does not match"),
        ({"url": "http://plc", "security": "none"}, "does not match"),
    ],
)
def test_what_does_not_go_says_so(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        parse_settings("opcua", settings)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("i=2258", (0, "i", "2258")),
        ("ns=2;s=Pump.Speed", (2, "s", "Pump.Speed")),
        ("ns=3;s=a;b=c", (3, "s", "a;b=c")),  # a name may hold what separates
        ("nsu=urn:maker:plc;i=7", ("urn:maker:plc", "i", "7")),
        ("nsu=urn:a%3Bb;s=x", ("urn:a;b", "s", "x")),
        ("ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a", (1, "g", "09087e75-8e5e-499b-954f-f2a9603db28a")),
        ("ns=1;b=M/RbKBsRVkePCePcx24oRA==", (1, "b", "M/RbKBsRVkePCePcx24oRA==")),
    ],
)
def test_a_node_id_as_the_standard_writes_it(text: str, parts: tuple[int | str, str, str]) -> None:
    assert node_name(text) == parts
    parse_address("opcua", {"node": text}, DataType.FLOAT, writable=False)


@pytest.mark.parametrize(
    "text",
    ["Pump.Speed", "ns=2", "ns=x;i=1", "ns=70000;i=1", "i=4294967296", "ns=1;g=12", "ns=1;b=!", "ns=2;s="],
)
def test_what_is_no_node_id(text: str) -> None:
    with pytest.raises(ConfigurationError, match="node"):
        parse_address("opcua", {"node": text}, DataType.FLOAT, writable=False)


def test_an_element_of_an_array_is_not_writable() -> None:
    with pytest.raises(ConfigurationError, match="element"):
        parse_address("opcua", {"node": "i=1", "index": 3}, DataType.FLOAT, writable=True)


def test_a_secret_lies_at_a_path_or_among_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert secret_file("/etc/plc.pw") == Path("/etc/plc.pw")
    with pytest.raises(ValueError, match="no absolute path"):
        secret_file("plc.pw")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/edge")
    assert secret_file("plc.pw") == Path("/run/credentials/edge/plc.pw")
    assert secret_file("../../etc/shadow") == Path("/run/credentials/edge/shadow")
