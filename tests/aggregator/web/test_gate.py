"""Nobody comes in unless a door lets them."""

from typing import Any

import pytest
from fakes.people import ADMINISTRATION, operators_token
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from aggregator.accounts.account import Role
from aggregator.accounts.service import Accounts, Caller
from aggregator.scope import Right
from aggregator.web import gate

OPEN_ENDPOINTS = {
    "doors.how",
    "doors.sign_in",
    "doors.sign_in_done",
    "doors.enter",
    "doors.first_run",
    "doors.first_run_done",
    "api.health",
}


def rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def entered(site: Any) -> FlaskClient:
    """A browser in which the operator is signed in."""
    client: FlaskClient = site.app.test_client()
    key = accounts_of(site).sign_in_link(ADMINISTRATION, "operator")
    answer = client.get(f"/enter?key={key}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    return client


def accounts_of(site: Any) -> Accounts:
    found: Accounts = site.app.extensions["accounts"]
    return found


def test_every_route_names_its_right_and_only_the_doors_and_health_are_open(site: Any) -> None:
    named = {rule.endpoint: gate.right_of(site.app, rule.endpoint) for rule in rules(site.app)}
    assert len(named) >= 20
    assert {endpoint for endpoint, right in named.items() if right == gate.OPEN} == OPEN_ENDPOINTS
    assert {e: r for e, r in named.items() if not isinstance(r, Right) and e not in OPEN_ENDPOINTS} == {}


def test_what_changes_something_is_open_to_nobody_but_at_the_doors(site: Any) -> None:
    changing = {
        rule.endpoint
        for rule in rules(site.app)
        if rule.endpoint in OPEN_ENDPOINTS and (rule.methods or set()) - gate.SAFE_METHODS
    }
    assert changing == {"doors.sign_in_done", "doors.first_run_done"}


def test_every_other_route_refuses_a_stranger_in_every_way_it_can_be_asked(site: Any) -> None:
    client = site.app.test_client()
    asked = 0
    for rule in rules(site.app):
        if rule.endpoint in OPEN_ENDPOINTS:
            continue
        for method in (rule.methods or {"GET"}) | {"GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"}:
            if any(
                other.rule == rule.rule
                and other.endpoint in OPEN_ENDPOINTS
                and method in (other.methods or ())
                for other in rules(site.app)
            ):
                continue
            for auth in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {site.key}"},
                {"Authorization": "Bearer"},
            ):
                answer = client.open(rule.rule, method=method, headers={"Accept": "text/html", **auth})
                asked += 1
                if answer.status_code == 303:
                    assert answer.headers["Location"].startswith("/sign-in")
                else:
                    assert answer.status_code in {401, 429}, (rule.rule, method, answer.status_code)
    assert asked > 100


def test_a_route_that_names_no_right_is_closed_to_everybody(site: Any) -> None:
    site.app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    answer = site.app.test_client().get("/forgotten", headers=site.auth)
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_a_role_without_the_right_is_refused(site: Any) -> None:
    auth = {"Authorization": f"Bearer {operators_token(site.here.folder, 'eva', Role.VIEWER)}"}
    client = site.app.test_client()
    assert client.get("/api/v1/values", headers=auth).status_code == 200
    answer = client.post("/api/v1/write", json={"signal": "roof.target", "value": 60}, headers=auth)
    assert answer.status_code == 403
    assert "command" in answer.json["error"]["text"]


def test_a_right_that_no_person_ever_has_closes_the_route_itself(site: Any) -> None:
    site.app.add_url_rule("/trail", "trail", gate.right(Right.INGEST)(lambda: "secret"))
    answer = site.app.test_client().get("/trail", headers=site.auth)
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_a_script_does_not_see_to_an_account(site: Any) -> None:
    answer = site.app.test_client().get("/account", headers=site.auth)
    assert answer.status_code == 403
    assert "self" in answer.text


def test_an_unknown_page_tells_a_stranger_nothing(site: Any) -> None:
    client = site.app.test_client()
    assert client.get("/api/v1/nothing").status_code == 401
    assert client.get("/api/v1/nothing", headers=site.auth).status_code == 404


def test_an_ended_token_opens_nothing_at_the_next_request(site: Any) -> None:
    client = site.app.test_client()
    assert client.get("/api/v1/values", headers=site.auth).status_code == 200
    accounts_of(site).set_disabled(ADMINISTRATION, "operator", is_disabled=True)
    answer = client.get("/api/v1/values", headers=site.auth)
    assert answer.status_code == 401
    assert "user token NAME" in answer.json["error"]["text"]


def test_wrong_tokens_must_wait_and_the_right_one_never_does(site: Any) -> None:
    client = site.app.test_client()
    for _ in range(10):
        assert client.get("/api/v1/values", headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = client.get("/api/v1/values", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert client.get("/api/v1/values", headers=site.auth).status_code == 200


def test_a_browsers_token_is_worth_nothing_in_a_header_and_a_scripts_nothing_in_a_cookie(site: Any) -> None:
    browsers = accounts_of(site).enter(accounts_of(site).sign_in_link(ADMINISTRATION, "operator"), Caller())
    client = site.app.test_client()
    assert client.get("/api/v1/values", headers={"Authorization": f"Bearer {browsers}"}).status_code == 401
    for token, status in ((site.key, 401), (browsers, 200)):
        with client.session_transaction() as cookie:
            cookie["token"] = token
        assert client.get("/api/v1/values").status_code == status


def test_a_cookie_that_nobody_signed_is_none(site: Any) -> None:
    client = site.app.test_client()
    client.set_cookie(site.app.config["SESSION_COOKIE_NAME"], "eyJ0b2tlbiI6IngifQ.aaaa.bbbb")
    assert client.get("/api/v1/values").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "feldwarte", "127.0.0.2"]
)
def test_a_rebound_name_is_refused_even_with_a_token(site: Any, host: str) -> None:
    client = entered(site)
    for path in ("/", "/api/v1/values", "/api/v1/health", "/enter?key=x", "/sign-in"):
        assert client.get(path, headers={"Host": host, **site.auth}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:9", "[::1]:8080", "[::1]"])
def test_names_of_loopback_are_ours(site: Any, host: str) -> None:
    assert (
        site.app.test_client().get("/api/v1/values", headers={"Host": host, **site.auth}).status_code == 200
    )


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        "http://localhost:81",
        "ftp://localhost",
    ],
)
def test_another_page_cannot_write_with_the_operators_session(site: Any, origin: str) -> None:
    answer = entered(site).post(
        "/api/v1/write", json={"signal": "roof.target", "value": 1}, headers={"Origin": origin}
    )
    assert answer.status_code == 403


def test_a_session_without_an_origin_cannot_write_but_our_own_page_can(site: Any) -> None:
    client = entered(site)
    wish = {"signal": "roof.target", "value": 99}
    assert client.post("/api/v1/write", json=wish).status_code == 403
    assert client.post("/api/v1/write", json=wish, headers={"Origin": "http://localhost"}).status_code == 409
    assert (
        client.post("/api/v1/write", json=wish, headers={"Referer": "http://localhost/"}).status_code == 403
    )


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/api/v1/values", "/nothing", "/static/icon.svg", "/static/dist/manifest.json"]
)
def test_every_answer_keeps_foreign_scripts_and_frames_out(site: Any, path: str) -> None:
    with entered(site).get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_what_is_personal_is_not_kept_by_the_browser(site: Any) -> None:
    client = entered(site)
    for path in ("/", "/api/v1/values", "/account"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_a_body_that_is_too_large_is_refused(site: Any) -> None:
    answer = site.app.test_client().post("/api/v1/write", data=b"x" * 70_000, headers=site.auth)
    assert answer.status_code == 413
