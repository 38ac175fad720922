"""The steps lead to exactly the tables the program uses, and newer data is left alone."""

import multiprocessing
from pathlib import Path
from typing import get_args

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from aggregator.config import DataFolder
from aggregator.db.engine import open_database, reading, writing
from aggregator.db.migrate import NewerData, Which, newest, open_databases, scripts, version
from aggregator.db.schema import HISTORY, MAIN


@pytest.mark.parametrize("which", get_args(Which))
def test_an_empty_database_becomes_what_the_program_uses(tmp_path: Path, which: Which) -> None:
    both = open_databases(DataFolder(tmp_path))
    engine, metadata = (both.main, MAIN) if which == "main" else (both.history, HISTORY)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert version(engine) == newest(which)
    both.dispose()


@pytest.mark.parametrize("which", get_args(Which))
def test_newer_data_is_refused_naming_both_versions(tmp_path: Path, which: Which) -> None:
    both = open_databases(DataFolder(tmp_path))
    with writing(both.main if which == "main" else both.history) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": f"{which}0999"})
    both.dispose()
    with pytest.raises(NewerData, match=f"{which}0999.*{newest(which)}"):
        open_databases(DataFolder(tmp_path))


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    open_databases(DataFolder(tmp_path)).dispose()
    both = open_databases(DataFolder(tmp_path))
    with reading(both.main) as connection:
        assert connection.execute(text("SELECT id FROM tenant")).scalars().all() == ["default"]
    both.dispose()


def _open(folder: Path) -> None:
    open_databases(DataFolder(folder)).dispose()


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_open, args=(tmp_path,)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0, 0]


def test_a_commit_survives_a_power_cut_as_far_as_sqlite_can_do_it(tmp_path: Path) -> None:
    both = open_databases(DataFolder(tmp_path))
    with reading(both.main) as connection:
        pragma = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    both.dispose()


BEFORE_COMMENTS = "main0002"
ALARMS = """
INSERT INTO alarm
(gateway, source, message, number, occurrence_us, tenant_id, store, raised_us, ended_us, acknowledged_us)
VALUES ('a', 'user', :message, 1, :at, 'default', 1, :raised, :ended, :acknowledged)
"""


def test_alarms_of_before_are_looked_at_once(tmp_path: Path) -> None:
    """Raised again, over and acknowledged, never raised: only the newest that still asks is open."""
    folder = DataFolder(tmp_path)
    main = open_database(folder.main)
    config = scripts("main")
    with writing(main) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE_COMMENTS)
        rows = [
            ("again", 10, 10, None, None),
            ("again", 20, 20, None, None),
            ("over", 10, 10, 15, 16),
            ("asks", 10, 10, 15, None),
            ("end alone", 10, None, 15, None),
        ]
        names = ("message", "at", "raised", "ended", "acknowledged")
        connection.execute(text(ALARMS), [dict(zip(names, row, strict=True)) for row in rows])
    main.dispose()
    both = open_databases(folder)
    with reading(both.main) as connection:
        found = connection.execute(text("SELECT message, occurrence_us FROM alarm WHERE is_open")).all()
        assert sorted(map(tuple, found)) == [("again", 20), ("asks", 10)]
        assert set(connection.execute(text("SELECT comment FROM alarm")).scalars()) == {""}
    both.dispose()
