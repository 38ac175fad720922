"""The steps lead to exactly the tables the program uses, and newer data is left alone."""

import multiprocessing
from pathlib import Path
from typing import get_args

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from aggregator.config import DataFolder
from aggregator.db.engine import reading, writing
from aggregator.db.migrate import NewerData, Which, newest, open_databases, version
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
