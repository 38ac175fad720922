"""Nobody comes in unless a door lets them."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from aggregator import access
from aggregator.scope import Right
from aggregator.web import gate

OPEN_ENDPOINTS = {"doors.how", "doors.enter", "api.health"}


def rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def entered(site: Any) -> FlaskClient:
    client: FlaskClient = site.app.test_client()
    answer = client.get(f"/enter?key={site.key}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    return client


def test_every_route_names_its_right_and_only_three_are_open(site: Any) -> None:
    named = {rule.endpoint: gate.right_of(site.app, rule.endpoint) for rule in rules(site.app)}
    assert len(named) >= 14
    assert {endpoint for endpoint, right in named.items() if right == gate.OPEN} == OPEN_ENDPOINTS
    assert {e: r for e, r in named.items() if not isinstance(r, Right) and e not in OPEN_ENDPOINTS} == {}


def test_every_other_route_refuses_a_stranger_in_every_way_it_can_be_asked(site: Any) -> None:
    client = site.app.test_client()
    asked = 0
    for rule in rules(site.app):
        if rule.endpoint in OPEN_ENDPOINTS:
            continue
        for method in (rule.methods or {"GET"}) | {"GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"}:
            for auth in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {site.key}"},
                {"Authorization": "Bearer"},
            ):
                answer = client.open(rule.rule, method=method, headers={"Accept": "text/html", **auth})
                asked += 1
                if answer.status_code == 303:
                    assert answer.headers["Location"] == "/how-to-enter"
                else:
                    assert answer.status_code in {401, 429}, (rule.rule, method, answer.status_code)
    assert asked > 100


def test_a_route_that_names_no_right_is_closed_to_everybody(site: Any) -> None:
    site.app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    answer = site.app.test_client().get("/forgotten", headers=site.auth)
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_a_right_that_the_scope_lacks_closes_the_route(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "OPERATOR", access.OPERATOR._replace(rights=frozenset({Right.VIEW})))
    client = site.app.test_client()
    assert client.get("/api/v1/values", headers=site.auth).status_code == 200
    answer = client.post("/api/v1/write", json={"signal": "roof.target", "value": 1}, headers=site.auth)
    assert answer.status_code == 403


def test_a_right_that_the_operator_never_has_closes_the_route_itself(site: Any) -> None:
    site.app.add_url_rule("/trail", "trail", gate.right(Right.AUDIT)(lambda: "secret"))
    answer = site.app.test_client().get("/trail", headers=site.auth)
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_an_unknown_page_tells_a_stranger_nothing(site: Any) -> None:
    client = site.app.test_client()
    assert client.get("/api/v1/nothing").status_code == 401
    assert client.get("/api/v1/nothing", headers=site.auth).status_code == 404


def test_the_link_opens_a_session_and_leaves_no_key_in_address_or_cookie(site: Any) -> None:
    client = site.app.test_client()
    answer = client.get(f"/enter?key={site.key}")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert site.key not in cookie
    assert site.key not in str(answer.data)
    assert client.get("/").status_code == 200


def test_a_wrong_key_opens_nothing_and_the_eleventh_must_wait(site: Any) -> None:
    client = site.app.test_client()
    for _ in range(10):
        assert client.get("/enter?key=wrong").status_code == 401
    answer = client.get("/enter?key=wrong")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert client.get("/api/v1/values", headers={"Authorization": "Bearer wrong"}).status_code == 429
    # The operator is not locked out by whoever tries.
    assert client.get("/api/v1/values", headers=site.auth).status_code == 200
    assert client.get(f"/enter?key={site.key}").status_code == 303


def test_a_new_key_ends_the_sessions_of_the_old_one(site: Any) -> None:
    client = entered(site)
    site.app.extensions["access_key"] = "another key that is long enough for this"
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 303


def test_leaving_ends_the_session(site: Any) -> None:
    client = entered(site)
    assert client.post("/leave", headers={"Origin": "http://localhost"}).status_code == 303
    assert client.get("/api/v1/values").status_code == 401


def test_a_cookie_that_nobody_signed_is_none(site: Any) -> None:
    client = site.app.test_client()
    client.set_cookie(site.app.config["SESSION_COOKIE_NAME"], "eyJrZXkiOiJ4In0.aaaa.bbbb")
    assert client.get("/api/v1/values").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "feldwarte", "127.0.0.2"]
)
def test_a_rebound_name_is_refused_even_with_a_session(site: Any, host: str) -> None:
    client = entered(site)
    for path in ("/", "/api/v1/values", "/api/v1/health", f"/enter?key={site.key}"):
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
    "path", ["/", "/how-to-enter", "/api/v1/values", "/nothing", "/static/live.js", "/static/style.css"]
)
def test_every_answer_keeps_foreign_scripts_and_frames_out(site: Any, path: str) -> None:
    with entered(site).get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_what_is_personal_is_not_kept_by_the_browser(site: Any) -> None:
    client = entered(site)
    for path in ("/", "/api/v1/values", "/how-to-enter"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_a_body_that_is_too_large_is_refused(site: Any) -> None:
    answer = site.app.test_client().post("/api/v1/write", data=b"x" * 70_000, headers=site.auth)
    assert answer.status_code == 413
