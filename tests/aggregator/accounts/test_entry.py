import pytest

from aggregator.accounts import entry


def test_addresses_are_what_a_browser_takes() -> None:
    assert entry.address("127.0.0.1", 8080) == "http://127.0.0.1:8080/"
    assert entry.address("scada.example", 8443, is_https=True) == "https://scada.example:8443/"
    assert entry.link("::1", 80, "k-e_y") == "http://[::1]:80/enter?key=k-e_y"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "ssh -L 8080:127.0.0.1:8080 eva@box"),
        ({"DISPLAY": ":0"}, ""),
        ({"WAYLAND_DISPLAY": "wayland-0"}, ""),
        # By the address that whoever reads this has just come by.
        ({"SSH_CONNECTION": "192.0.2.1 51000 203.0.113.5 22"}, "ssh -L 8080:127.0.0.1:8080 eva@203.0.113.5"),
        ({"SSH_CONNECTION": "broken"}, "ssh -L 8080:127.0.0.1:8080 eva@box"),
    ],
)
def test_without_a_screen_the_way_to_the_link_is_told(environment: dict[str, str], expected: str) -> None:
    assert entry.tunnel(8080, "eva", "box", environment) == expected


def test_the_link_stands_alone_on_its_line() -> None:
    lines = entry.invitation("http://127.0.0.1:1/enter?key=x", "ssh -L …").splitlines()
    assert "    http://127.0.0.1:1/enter?key=x" in lines
    assert "    ssh -L …" in lines
    assert "ssh" not in entry.invitation("http://127.0.0.1:1/enter?key=x", "")
