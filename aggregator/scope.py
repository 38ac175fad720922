"""Scope: on whose behalf, and how far, a store function may go. Deny by default.

It is the first argument of every store function. What is not granted raises `Forbidden`; the
caller answers as if the thing did not exist, or ends. Accounts and roles, which build scopes
for people, stand above; processes get theirs from `process`.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

DEFAULT_TENANT = "default"


class Right(StrEnum):
    """What may be granted."""

    VIEW = "view"
    """See gateways, signals, history and alarms."""
    ACKNOWLEDGE = "acknowledge"
    COMMAND = "command"
    """Write set points."""
    AUDIT = "audit"
    """Read the audit trail and what is in quarantine."""
    INGEST = "ingest"
    """Store what gateways send, for every tenant."""
    VERIFY = "verify"
    """Read every stored row of every tenant to check it."""
    SELF = "self"
    """See to one's own account: password, language, sessions; no script has it."""
    ACCOUNTS = "accounts"
    """Make and change accounts, and judge who signs in, for every tenant."""


class Forbidden(PermissionError):
    """The scope does not reach this far."""


class Scope(NamedTuple):
    """Tenant, sites (None: all of the tenant), rights and who acts."""

    tenant: str
    sites: frozenset[str] | None
    rights: frozenset[Right]
    actor: str

    def require(self, right: Right) -> None:
        """Raise Forbidden unless the right is granted."""
        if right not in self.rights:
            raise Forbidden(f"{self.actor or 'nobody'} lacks the right {right.value!r}")

    def of_tenant(self, tenant: str) -> "Scope":
        """The same for another tenant; only processes that serve all tenants may ask."""
        if not self.rights & {Right.INGEST, Right.VERIFY}:
            raise Forbidden(f"{self.actor or 'nobody'} may not leave tenant {self.tenant!r}")
        return self._replace(tenant=tenant)


NOBODY = Scope("", frozenset(), frozenset(), "")
"""Reaches nothing."""


def process(actor: str, rights: Iterable[Right], tenant: str = DEFAULT_TENANT) -> Scope:
    """Scope of one of our own processes, for all sites of a tenant."""
    return Scope(tenant, None, frozenset(rights), actor)


P = ParamSpec("P")
R = TypeVar("R")


def needs(
    right: Right,
) -> Callable[[Callable[Concatenate[Scope, P], R]], Callable[Concatenate[Scope, P], R]]:
    """Mark a store function with the right without which it does nothing at all."""

    def mark(function: Callable[Concatenate[Scope, P], R]) -> Callable[Concatenate[Scope, P], R]:
        @wraps(function)
        def checked(scope: Scope, /, *args: P.args, **kwargs: P.kwargs) -> R:
            scope.require(right)
            return function(scope, *args, **kwargs)

        return checked

    return mark
