"""One gateway in full over HTTP."""

from typing import Any


def test_it_tells_devices_configuration_and_what_happened(site: Any) -> None:
    said = site.app.test_client().get("/api/v1/gateways/solar-roof", headers=site.auth).json
    assert said["id"] == "solar-roof"
    assert said["state"]["presence"] == "online"
    assert said["status"]["health"]["store_bytes"] >= 0
    document = said["configuration"]["document"]
    assert document["gateway"]["id"] == "solar-roof"
    assert said["configuration"]["faults"] == []
    assert isinstance(said["store"], str)
    assert isinstance(said["events"], list)


def test_an_unknown_gateway_is_named(site: Any) -> None:
    answer = site.app.test_client().get("/api/v1/gateways/nobody", headers=site.auth)
    assert answer.status_code == 404
    assert answer.json["error"]["value"] == "nobody"


def test_its_figures_are_those_of_the_newest_heartbeat(site: Any) -> None:
    for unsent in (3, 5):
        site.here.say(site.roof.status(unsent_segments=unsent))
        said = site.app.test_client().get("/api/v1/gateways/solar-roof", headers=site.auth).json
        assert said["status"]["health"]["unsent_segments"] == unsent
