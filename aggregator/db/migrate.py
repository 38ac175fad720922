"""Bringing both databases to this program's version, and refusing those that are newer.

The steps are alembic scripts in `aggregator.db.migrations`, one line of them per database. They
never rewrite a segment.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from aggregator.config import DataFolder
from aggregator.db.engine import Databases, Engine, open_database, reading, writing

Which = Literal["main", "history"]


class NewerData(RuntimeError):
    """A database was written by a newer program. Stop: update the program, or restore a backup."""


def scripts(which: Which) -> Config:
    """Alembic's settings for one database."""
    config = Config()
    config.set_main_option("script_location", str(files("aggregator.db") / "migrations" / which))
    return config


def newest(which: Which) -> str:
    """Version this program brings a database to."""
    return str(ScriptDirectory.from_config(scripts(which)).get_current_head())


def version(engine: Engine) -> str | None:
    """Version a database is at; None if it is empty."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, which: Which) -> None:
    """Bring one database up to `newest`, in one transaction.

    Raises:
        NewerData: it is at a version this program does not know; nothing was touched.
    """
    found, target = version(engine), newest(which)
    if found == target:
        return
    known = {step.revision for step in ScriptDirectory.from_config(scripts(which)).walk_revisions()}
    if found is not None and found not in known:
        raise NewerData(
            f"{which} database is at version {found}, this program knows up to {target};"
            " update the program, or restore the backup taken before the update"
        )
    config = scripts(which)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def open_databases(folder: DataFolder) -> Databases:
    """Both databases, up to date. The caller disposes them.

    Raises:
        NewerData: see `upgrade`.
    """
    folder.create()
    databases = Databases(open_database(folder.main), open_database(folder.history))
    try:
        with _alone(folder.migrate_lock):
            upgrade(databases.main, "main")
            upgrade(databases.history, "history")
    except BaseException:
        databases.dispose()
        raise
    return databases


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process migrates: several start at the same moment."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
