"""The one cookie: signed, for our scripts unreadable, and under HTTPS bound to this host alone.

It carries the token of a session and what forms are checked by; what the token is worth is in the
database. Its name says the port, as cookies know none: two servers on one host must not end each
other's sessions.
"""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface


class HostCookie(SecureCookieSessionInterface):
    """`__Host-` and Secure where the request came by HTTPS; plain on loopback."""

    def get_cookie_name(self, app: Flask) -> str:
        name: str = app.config["SESSION_COOKIE_NAME"]
        return f"__Host-{name}" if request.is_secure else name

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002  # the interface is Flask's
        return request.is_secure
