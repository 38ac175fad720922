"""Opening the databases, and the two ways to use one: `reading` and `writing`.

Everything that is SQLite's alone is in this file. SQLite: WAL, synchronous=FULL (an answer after
commit survives a power cut), BEGIN IMMEDIATE for writers, so that two of them wait for each
other instead of failing in the middle.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.engine import Connection, Engine, Row
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError

__all__ = [
    "Connection",
    "DatabaseError",
    "Databases",
    "Engine",
    "Row",
    "Unstorable",
    "check_integrity",
    "open_database",
    "reading",
    "writing",
]

Unstorable = (DataError, IntegrityError)
"""The values are at fault, not the database: others can still be stored."""

BUSY_TIMEOUT_S = 5.0
_WRITES = "feldwarte_writes"


class Databases(NamedTuple):
    """Both databases of a server."""

    main: Engine
    history: Engine

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.main.dispose()
        self.history.dispose()


def open_database(place: Path | URL) -> Engine:
    """Engine of one database: a SQLite file, or whatever a URL names. No schema is touched."""
    url = place if isinstance(place, URL) else URL.create("sqlite", database=str(place))
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN; sqlite3 would say it later, and not IMMEDIATE
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=OFF",
        "journal_size_limit=67108864",
        "cache_size=-16384",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write: committed at the end, rolled back by any exception."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads: everything in it is seen as of one moment."""
    with engine.connect() as connection, connection.begin():
        yield connection


def check_integrity(connection: Connection) -> list[str]:
    """What the database itself finds wrong with its file; empty where it is sound or cannot tell."""
    if connection.dialect.name != "sqlite":
        return []
    rows: list[Any] = list(connection.execute(text("PRAGMA integrity_check(20)")).scalars())
    return [str(row) for row in rows if row != "ok"]
