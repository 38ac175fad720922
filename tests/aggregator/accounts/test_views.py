"""The doors as a browser meets them: forms without JavaScript, one cookie, links."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fakes.people import ADMINISTRATION, PASSWORD, quick_hashes
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from aggregator.accounts import service
from aggregator.accounts.account import Role
from aggregator.accounts.service import Accounts
from aggregator.web.app import create, served
from aggregator.web.settings import WebSettings

OWN = {"Origin": "http://localhost"}
OTHER = "etwas ganz anderes"


@pytest.fixture(autouse=True)
def quick() -> None:
    quick_hashes()


def accounts_of(site: Any) -> Accounts:
    found: Accounts = site.app.extensions["accounts"]
    return found


@pytest.fixture
def house(empty_site: Any) -> Any:
    """A site where Anna is an operator."""
    accounts_of(empty_site).add(ADMINISTRATION, "Anna", PASSWORD, Role.OPERATOR, language="en")
    return empty_site


class Fresh:
    """A server that nobody has an account on."""

    def __init__(self, folder: Path) -> None:
        settings = WebSettings(data=folder, hosts=frozenset({"scada.example"}), is_behind_proxy=True)
        self.app = create(settings)
        self.key = accounts_of(self).first_run_link()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Fresh]:
    site = Fresh(tmp_path)
    yield site
    served(site.app).databases.dispose()


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return unescape(found[1])


def send(client: FlaskClient, form_at: str, to: str = "", **fields: str) -> TestResponse:
    """Fill in the form of a page and send it, as a browser does."""
    token = field(client.get(form_at).text, "csrf_token")
    return client.post(to or form_at, data={"csrf_token": token, **fields}, headers=OWN)


def signed_in(site: Any, password: str = PASSWORD) -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    answer = send(client, "/sign-in", name="Anna", password=password)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/"), answer.text
    return client


# --- In and out ------------------------------------------------------------------------------


def test_name_and_password_open_and_the_cookie_says_neither(house: Any) -> None:
    client = house.app.test_client()
    before = client.get("/sign-in").headers["Set-Cookie"]
    answer = send(client, "/sign-in", name="anna", password=PASSWORD)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert cookie.split(";")[0] != before.split(";")[0]
    assert "anna" not in cookie
    assert client.get("/").status_code == 200
    assert "Set-Cookie" not in client.get("/").headers


def test_who_was_sent_to_the_door_is_sent_on_to_where_they_wanted(house: Any) -> None:
    client = house.app.test_client()
    answer = client.get("/trend?signal=a&from=-1h", headers={"Accept": "text/html"})
    form_at = answer.headers["Location"]
    wanted = field(client.get(form_at).text, "next")
    answer = send(client, form_at, "/sign-in", name="anna", password=PASSWORD, next=wanted)
    assert answer.headers["Location"] == "/trend?signal=a&from=-1h"


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "http://evil.example", "/\\evil.example", "evil", "/a\r\nSet-Cookie: x=y", ""],
)
def test_the_door_leads_nowhere_else(house: Any, wanted: str) -> None:
    answer = send(house.app.test_client(), "/sign-in", name="anna", password=PASSWORD, next=wanted)
    assert answer.headers["Location"] == "/"


def test_what_was_wrong_is_not_said_and_the_password_not_sent_back(house: Any) -> None:
    pages = set()
    for name, password in (("anna", "wrong-and-secret"), ("nobody", "wrong-and-secret")):
        answer = send(house.app.test_client(), "/sign-in", name=name, password=password)
        assert answer.status_code == 401
        assert "wrong-and-secret" not in answer.text
        page = re.sub(r'value="[^"]*"', "", answer.text)
        pages.add(page)
    assert len(pages) == 1
    assert 'role="alert"' in pages.pop()


def test_the_sixth_wrong_password_must_wait(house: Any) -> None:
    client = house.app.test_client()
    for _ in range(5):
        assert send(client, "/sign-in", name="anna", password="wrong").status_code == 401
    answer = send(client, "/sign-in", name="anna", password=PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert "Too many attempts" in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", None, "https://localhost"])
def test_no_other_site_signs_anybody_in(house: Any, origin: str | None) -> None:
    client = house.app.test_client()
    token = field(client.get("/sign-in").text, "csrf_token")
    headers = {} if origin is None else {"Origin": origin}
    form = {"csrf_token": token, "name": "anna", "password": PASSWORD}
    assert client.post("/sign-in", data=form, headers=headers).status_code == 403


def test_a_form_without_our_token_is_refused(house: Any) -> None:
    strangers = field(house.app.test_client().get("/sign-in").text, "csrf_token")
    client = signed_in(house)
    for path in ("/sign-in", "/leave", "/account/password", "/account/language", "/account/leave-everywhere"):
        for form in ({}, {"csrf_token": strangers}, {"csrf_token": "x"}):
            answer = client.post(path, data=form, headers=OWN)
            assert answer.status_code == 400, path
            assert "load its page again" in answer.text
    assert client.get("/").status_code == 200


def test_leaving_ends_the_session_and_not_only_its_cookie(house: Any) -> None:
    client = signed_in(house)
    with client.session_transaction() as cookie:
        token = cookie["token"]
    assert send(client, "/account", "/leave").status_code == 303
    assert client.get("/api/v1/values").status_code == 401
    assert accounts_of(house).guest(token) is None


def test_a_disabled_account_is_out_at_the_next_request(house: Any) -> None:
    client = signed_in(house)
    accounts_of(house).set_disabled(ADMINISTRATION, "anna", is_disabled=True)
    assert client.get("/api/v1/values").status_code == 401


# --- One's own account -----------------------------------------------------------------------


def test_a_new_password_signs_the_other_browsers_out_and_this_one_stays(house: Any) -> None:
    mine, other = signed_in(house), signed_in(house)
    answer = send(mine, "/account", "/account/password", old=PASSWORD, password=OTHER, again=OTHER)
    assert answer.status_code == 303
    assert "The password is changed" in mine.get(answer.headers["Location"]).text
    assert other.get("/api/v1/values").status_code == 401
    assert signed_in(house, OTHER).get("/").status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "again", "said"),
    [
        (PASSWORD, "kurz", "kurz", ["shorter than 12"]),
        (PASSWORD, "anna1", "anna1", ["shorter than 12", "contains the name"]),
        (PASSWORD, OTHER, OTHER + "x", ["not the same"]),
        ("wrong", OTHER, OTHER, ["present password is not right"]),
    ],
)
def test_a_refused_password_says_exactly_what_is_wrong(
    house: Any, old: str, new: str, again: str, said: list[str]
) -> None:
    client = signed_in(house)
    answer = send(client, "/account", "/account/password", old=old, password=new, again=again)
    assert answer.status_code == 400
    alerts = re.findall(r'role="alert">(.*?)</p>', answer.text)
    assert len(alerts) == len(said)
    for alert, words in zip(alerts, said, strict=True):
        assert words in alert
    assert new not in answer.text
    signed_in(house)


def test_the_accounts_language_goes_before_the_browsers(house: Any) -> None:
    client = signed_in(house)
    german = {"Accept-Language": "de"}
    assert "Present password" in client.get("/account", headers=german).text
    send(client, "/account", "/account/language", language="")
    assert "Bisheriges Passwort" in client.get("/account", headers=german).text
    send(client, "/account", "/account/language", language="de")
    assert "Bisheriges Passwort" in client.get("/account", headers={"Accept-Language": "en"}).text
    send(client, "/account", "/account/language", language="xx")
    assert '<html lang="en"' in client.get("/account", headers={"Accept-Language": "en"}).text


def test_everywhere_means_every_browser(house: Any) -> None:
    first, second = signed_in(house), signed_in(house)
    assert first.get("/account").text.count("<li>") == 2
    send(first, "/account", "/account/leave-everywhere")
    assert [client.get("/api/v1/values").status_code for client in (first, second)] == [401, 401]


# --- Links and the first run -----------------------------------------------------------------


def test_before_the_first_run_every_page_says_how_to_get_in(fresh: Fresh) -> None:
    client = fresh.app.test_client()
    for path in ("/", "/account", "/nothing", "/sign-in"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/how-to-enter"), path
    page = client.get("/how-to-enter")
    assert page.status_code == 200
    assert "ssh -L 8080:127.0.0.1:8080" in page.text
    assert "python -m aggregator user link --port 8080" in page.text
    assert client.get("/api/v1/values").status_code == 401


def test_from_the_link_to_the_first_page_and_what_comes_next(fresh: Fresh) -> None:
    client = fresh.app.test_client()
    answer = client.get(f"/enter?key={fresh.key}")
    assert answer.headers["Location"] == "/first-run"
    page = client.get("/first-run", headers={"Accept-Language": "de"}).text
    assert '<option value="de" lang="de" selected>' in page
    answer = send(client, "/first-run", name="Jürgen", password=PASSWORD, again=PASSWORD, language="de")
    assert answer.headers["Location"] == "/first-steps"
    with client.session_transaction() as kept:
        assert set(kept) == {"token", "_permanent"}  # nothing of before the door
    page = client.get("/first-steps").text
    for said in ("aggregator pki gateway", "edge run", "make demo", '<html lang="de"'):
        assert said in page
    assert client.get("/").status_code == 200
    assert fresh.app.test_client().get("/how-to-enter").headers["Location"] == "/sign-in"
    again = fresh.app.test_client().get(f"/enter?key={fresh.key}", headers={"Accept-Language": "en"})
    assert again.status_code == 401
    assert "has been made" in again.text


@pytest.mark.parametrize(
    ("name", "password", "again", "said"),
    [
        ("a b", PASSWORD, PASSWORD, ["The name needs"]),
        ("eva", "eva", "eva", ["shorter", "contains the name"]),
        ("eva", PASSWORD, OTHER, ["not the same"]),
    ],
)
def test_what_will_not_do_is_said_and_the_name_is_kept_in_the_form(
    fresh: Fresh, name: str, password: str, again: str, said: list[str]
) -> None:
    client = fresh.app.test_client()
    client.get(f"/enter?key={fresh.key}")
    answer = send(client, "/first-run", name=name, password=password, again=again, language="de")
    assert answer.status_code == 400
    assert field(answer.text, "name") == name
    assert '<option value="de" lang="de" selected>' in answer.text
    alerts = re.findall(r'role="alert">(.*?)</p>', answer.text)
    assert [words in alert for words, alert in zip(said, alerts, strict=True)] == [True] * len(said)
    assert not accounts_of(fresh).is_any()


def test_a_first_run_without_link_is_none(fresh: Fresh) -> None:
    client = fresh.app.test_client()
    answer = client.get("/first-run", headers={"Accept-Language": "en"})
    assert answer.status_code == 401
    assert "opens nothing" in answer.text
    client.get(f"/enter?key={fresh.key}")
    token = field(client.get("/first-run").text, "csrf_token")
    with client.session_transaction() as cookie:
        del cookie["first_run_key"]
    form = {"csrf_token": token, "name": "eva", "password": PASSWORD, "again": PASSWORD}
    assert client.post("/first-run", data=form, headers=OWN).status_code == 401
    assert not accounts_of(fresh).is_any()


def test_who_was_slower_is_told(fresh: Fresh) -> None:
    clients = [fresh.app.test_client() for _ in range(2)]
    forms = []
    for client in clients:
        client.get(f"/enter?key={fresh.key}")
        token = field(client.get("/first-run").text, "csrf_token")
        forms.append({"csrf_token": token, "name": "eva", "password": PASSWORD, "again": PASSWORD})
    answers = [
        client.post("/first-run", data=form, headers={**OWN, "Accept-Language": "en"})
        for client, form in zip(clients, forms, strict=True)
    ]
    assert [answer.status_code for answer in answers] == [303, 401]
    assert "has been made" in answers[1].text


def test_an_old_link_is_told_to_be_old(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_RUN_LIFE_US", 0)
    answer = fresh.app.test_client().get(
        f"/enter?key={accounts_of(fresh).first_run_link()}", headers={"Accept-Language": "en"}
    )
    assert answer.status_code == 401
    assert "too old" in answer.text


def test_wrong_links_must_wait_and_the_right_one_never_does(fresh: Fresh) -> None:
    client = fresh.app.test_client()
    for _ in range(10):
        assert client.get("/enter?key=wrong").status_code == 401
    assert client.get("/enter?key=wrong").status_code == 429
    assert client.get(f"/enter?key={fresh.key}").status_code == 303


PROXIED = {
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "scada.example",
}


def test_nobody_from_outside_comes_near_the_first_run(fresh: Fresh) -> None:
    client = fresh.app.test_client()
    for path in ("/", "/how-to-enter", f"/enter?key={fresh.key}", "/first-run", "/sign-in"):
        answer = client.get(path, headers=PROXIED)
        assert answer.status_code == 403, path
        assert "on the server itself" in answer.text
    assert client.get("/api/v1/health", headers=PROXIED).status_code == 200


def test_a_link_that_signs_in_works_on_this_machine_only(fresh: Fresh) -> None:
    accounts_of(fresh).add(ADMINISTRATION, "demo", None, Role.ADMIN)
    key = accounts_of(fresh).sign_in_link(ADMINISTRATION, "demo")
    assert fresh.app.test_client().get(f"/enter?key={key}", headers=PROXIED).status_code == 403
    client = fresh.app.test_client()
    wrong = client.get("/enter?key=wrong").text
    assert "aggregator user link NAME" in wrong
    assert "ssh -L" not in wrong  # that way leads to the first run, which is over
    assert client.get(f"/enter?key={key}").headers["Location"] == "/"
    assert client.get("/account").status_code == 200


# --- Behind a proxy, under HTTPS -------------------------------------------------------------


def test_one_proxy_says_who_asks_and_the_cookie_belongs_to_its_https_host(fresh: Fresh) -> None:
    accounts_of(fresh).add(ADMINISTRATION, "anna", PASSWORD, Role.OPERATOR)
    client = fresh.app.test_client()
    page = client.get("/sign-in", headers=PROXIED, base_url="https://scada.example")
    assert page.headers["Strict-Transport-Security"].startswith("max-age=")
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("__Host-feldwarte-8080=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    form = {"csrf_token": field(page.text, "csrf_token"), "name": "anna", "password": PASSWORD}
    for origin, status in (("http://scada.example", 403), ("https://scada.example", 303)):
        answer = client.post(
            "/sign-in", data=form, headers={**PROXIED, "Origin": origin}, base_url="https://scada.example"
        )
        assert answer.status_code == status
    with client.session_transaction(base_url="https://scada.example", headers=PROXIED) as kept:
        guest = accounts_of(fresh).guest(kept["token"])
    assert guest is not None
    (session,) = accounts_of(fresh).sessions(guest)
    assert session.address == "192.0.2.7"


def test_a_second_hop_is_not_believed(fresh: Fresh) -> None:
    answer = fresh.app.test_client().get(
        "/how-to-enter", headers={**PROXIED, "X-Forwarded-For": "127.0.0.1, 192.0.2.7"}
    )
    assert answer.status_code == 403
    answer = fresh.app.test_client().get(
        "/sign-in", headers={**PROXIED, "X-Forwarded-Host": "scada.example, evil.example"}
    )
    assert answer.status_code == 400


def test_without_a_proxy_nobody_says_who_they_are(house: Any) -> None:
    client = house.app.test_client()
    page = client.get("/sign-in", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"})
    assert page.status_code == 200
    assert "Strict-Transport-Security" not in page.headers
    assert not page.headers["Set-Cookie"].startswith("__Host-")


def test_clear_text_on_loopback_keeps_a_plain_cookie(house: Any) -> None:
    cookie = house.app.test_client().get("/sign-in").headers["Set-Cookie"]
    assert cookie.startswith("feldwarte-8080=")
    assert "Secure" not in cookie
