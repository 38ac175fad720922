"""SQL of accounts, sessions and entry links. Tokens come and are kept as hashes only."""

from collections.abc import Collection

from sqlalchemy import and_, delete, insert, or_, select, update

from aggregator.accounts.account import Account, Kind, Link, Role, Session
from aggregator.db.engine import Connection
from aggregator.db.schema import account, entry_link, session
from aggregator.scope import Right, Scope, needs

_ACCOUNT = (
    account.c.id,
    account.c.tenant_id,
    account.c.name,
    account.c.display_name,
    account.c.password,
    account.c.language,
    account.c.role,
    account.c.disabled,
    account.c.created_us,
    account.c.password_changed_us,
    account.c.signed_in_us,
)
_SESSION = (
    session.c.id,
    session.c.token,
    session.c.account,
    session.c.kind,
    session.c.created_us,
    session.c.last_seen_us,
    session.c.expires_us,
    session.c.address,
    session.c.agent,
)


def _account(row: tuple[object, ...]) -> Account:
    found = Account(*row)  # type: ignore[arg-type]  # in the order of _ACCOUNT
    return found._replace(role=Role(found.role))


def _session(row: tuple[object, ...]) -> Session:
    found = Session(*row)  # type: ignore[arg-type]  # in the order of _SESSION
    return found._replace(kind=Kind(found.kind))


# --- Accounts --------------------------------------------------------------------------------


@needs(Right.ACCOUNTS)
def is_any(_scope: Scope, connection: Connection) -> bool:
    """Whether anybody has an account, of whatever tenant."""
    return connection.execute(select(account.c.id).limit(1)).first() is not None


@needs(Right.ACCOUNTS)
def by_name(_scope: Scope, connection: Connection, name: str) -> Account | None:
    """The account of this name, of whatever tenant."""
    row = connection.execute(select(*_ACCOUNT).where(account.c.name == name)).first()
    return None if row is None else _account(tuple(row))


@needs(Right.ACCOUNTS)
def by_id(_scope: Scope, connection: Connection, number: int) -> Account | None:
    """The account of this number."""
    row = connection.execute(select(*_ACCOUNT).where(account.c.id == number)).first()
    return None if row is None else _account(tuple(row))


@needs(Right.ACCOUNTS)
def listed(_scope: Scope, connection: Connection) -> list[Account]:
    """Every account, by name."""
    return [_account(tuple(row)) for row in connection.execute(select(*_ACCOUNT).order_by(account.c.name))]


@needs(Right.ACCOUNTS)
def add(scope: Scope, connection: Connection, new: Account) -> int:
    """Number of a new account of the scope's tenant; the one in `new` is not looked at."""
    done = connection.execute(
        insert(account).values(
            tenant_id=scope.tenant,
            name=new.name,
            display_name=new.display_name,
            password=new.password,
            language=new.language,
            role=new.role.value,
            disabled=new.is_disabled,
            created_us=new.created_us,
            password_changed_us=new.password_changed_us,
        )
    )
    return int(done.inserted_primary_key[0])  # type: ignore[index]  # one row was inserted


@needs(Right.ACCOUNTS)
def change(_scope: Scope, /, connection: Connection, number: int, **values: object) -> None:
    """Set columns of an account."""
    connection.execute(update(account).where(account.c.id == number).values(**values))


# --- Sessions --------------------------------------------------------------------------------


@needs(Right.ACCOUNTS)
def open_session(scope: Scope, connection: Connection, new: Session) -> None:
    """Let somebody in; the number in `new` is not looked at."""
    connection.execute(
        insert(session).values(
            tenant_id=scope.tenant,
            token=new.token,
            account=new.account,
            kind=new.kind.value,
            created_us=new.created_us,
            last_seen_us=new.last_seen_us,
            expires_us=new.expires_us,
            address=new.address[:64],
            agent=new.agent[:200],
        )
    )


@needs(Right.ACCOUNTS)
def with_token(_scope: Scope, connection: Connection, token: str) -> tuple[Session, Account] | None:
    """The session with this token's hash, and whose it is."""
    query = select(*_SESSION, *_ACCOUNT).join(account, account.c.id == session.c.account)
    row = connection.execute(query.where(session.c.token == token)).first()
    if row is None:
        return None
    values = tuple(row)
    return _session(values[: len(_SESSION)]), _account(values[len(_SESSION) :])


@needs(Right.ACCOUNTS)
def standing(_scope: Scope, connection: Connection, now_us: int, seen_since_us: int) -> frozenset[str]:
    """Token hashes of all sessions that hold now; browsers' only if seen since then."""
    query = (
        select(session.c.token)
        .join(account, account.c.id == session.c.account)
        .where(
            account.c.disabled.is_(False),
            session.c.expires_us > now_us,
            or_(session.c.kind == Kind.SCRIPT.value, session.c.last_seen_us > seen_since_us),
        )
    )
    return frozenset(connection.execute(query).scalars())


@needs(Right.ACCOUNTS)
def sessions_of(_scope: Scope, connection: Connection, number: int) -> list[Session]:
    """Sessions of an account, newest first."""
    query = select(*_SESSION).where(session.c.account == number).order_by(session.c.id.desc())
    return [_session(tuple(row)) for row in connection.execute(query)]


@needs(Right.ACCOUNTS)
def seen(_scope: Scope, connection: Connection, tokens: Collection[str], now_us: int) -> None:
    """Note that sessions were in use."""
    connection.execute(update(session).where(session.c.token.in_(tokens)).values(last_seen_us=now_us))


@needs(Right.ACCOUNTS)
def end_session(_scope: Scope, connection: Connection, token: str) -> None:
    """End the session with this token's hash."""
    connection.execute(delete(session).where(session.c.token == token))


@needs(Right.ACCOUNTS)
def end_sessions(_scope: Scope, connection: Connection, number: int, kind: Kind | None = None) -> int:
    """End all sessions of an account, or all of a kind; gives how many there were."""
    of_kind = session.c.kind == kind.value if kind is not None else session.c.kind.is_not(None)
    query = delete(session).where(session.c.account == number, of_kind)
    return connection.execute(query).rowcount


@needs(Right.ACCOUNTS)
def tidy(_scope: Scope, connection: Connection, now_us: int, links_before_us: int) -> None:
    """Forget sessions that are over, and links that expired before a moment."""
    connection.execute(delete(session).where(session.c.expires_us <= now_us))
    connection.execute(delete(entry_link).where(entry_link.c.expires_us < links_before_us))


# --- Entry links -----------------------------------------------------------------------------


@needs(Right.ACCOUNTS)
def replace_link(scope: Scope, connection: Connection, new: Link) -> None:
    """Make a link; unused ones for the same purpose are no longer any."""
    same = entry_link.c.account.is_(None) if new.account is None else entry_link.c.account == new.account
    connection.execute(delete(entry_link).where(and_(same, entry_link.c.used_us.is_(None))))
    connection.execute(
        insert(entry_link).values(
            token=new.token,
            tenant_id=scope.tenant,
            account=new.account,
            created_us=new.created_us,
            expires_us=new.expires_us,
        )
    )


@needs(Right.ACCOUNTS)
def link(_scope: Scope, connection: Connection, token: str) -> Link | None:
    """The link with this token's hash."""
    query = select(
        entry_link.c.token,
        entry_link.c.account,
        entry_link.c.created_us,
        entry_link.c.expires_us,
        entry_link.c.used_us,
    ).where(entry_link.c.token == token)
    row = connection.execute(query).first()
    return None if row is None else Link(*row)


@needs(Right.ACCOUNTS)
def use_link(_scope: Scope, connection: Connection, token: str, now_us: int) -> bool:
    """Mark a link as used; False if somebody was faster."""
    query = update(entry_link).where(entry_link.c.token == token, entry_link.c.used_us.is_(None))
    return connection.execute(query.values(used_us=now_us)).rowcount == 1
