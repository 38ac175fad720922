"""Databases for tests of the server, empty and of the newest version; and the whole application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.centre import Centre, Speaker, centre, document, now_us, settings
from fakes.databases import opened
from fakes.people import operators_token
from flask import Flask

from aggregator.db.engine import Databases
from aggregator.live.service import Live
from aggregator.web.app import create, served
from contract.wire import topics
from contract.wire.envelope import pack


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with opened(tmp_path) as both:
        yield both


class Site:
    """The application inside the test, with a gateway that has reported, and without a broker."""

    def __init__(self, here: Centre) -> None:
        self.here = here
        self.live = Live(here.databases, None)
        self.live.connected()
        self.app: Flask = create(settings(here.folder), self.live)
        self.key: str = operators_token(here.folder)
        self.auth = {"Authorization": f"Bearer {self.key}"}
        self.roof = Speaker("solar-roof", document())

    def report(self) -> None:
        for said in (
            self.roof.birth(),
            self.roof.applied(),
            self.roof.status(),
            self.roof.tail({"roof.collector": 61.4, "roof.flow": (400.0, 0x43), "roof.pump": True}, now_us()),
        ):
            self.here.say(said)
            self.live.heard(topics.up(said.gateway, said.lane), pack(said.message), retained=False)
        self.live.turn()


@pytest.fixture
def empty_site(tmp_path: Path) -> Iterator[Site]:
    with centre(tmp_path) as here:
        site = Site(here)
        yield site
        served(site.app).databases.dispose()


@pytest.fixture
def site(empty_site: Site) -> Site:
    empty_site.report()
    return empty_site
