"""Two ways to use a database: writers exclude each other from the start, readers see one moment."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from aggregator.db.engine import Databases, check_integrity, open_database, reading, writing


def tenants(databases: Databases) -> list[str]:
    with reading(databases.main) as connection:
        return list(connection.execute(text("SELECT id FROM tenant ORDER BY id")).scalars())


def test_an_exception_takes_everything_back(databases: Databases) -> None:
    with pytest.raises(IntegrityError), writing(databases.main) as connection:
        connection.execute(text("INSERT INTO tenant VALUES ('a', ''), ('b', ''), ('b', '')"))
    assert tenants(databases) == ["default"]


def test_a_reader_sees_one_moment(databases: Databases) -> None:
    with reading(databases.main) as early:
        before = early.execute(text("SELECT count(*) FROM tenant")).scalar()
        with writing(databases.main) as connection:
            connection.execute(text("INSERT INTO tenant VALUES ('a', '')"))
        assert early.execute(text("SELECT count(*) FROM tenant")).scalar() == before
    assert tenants(databases) == ["a", "default"]


def test_a_second_writer_waits_at_its_beginning(databases: Databases, tmp_path: Path) -> None:
    impatient = open_database(tmp_path / "main.db")
    with writing(databases.main), impatient.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
        connection.rollback()
        with pytest.raises(OperationalError, match="locked"):
            connection.execution_options(feldwarte_writes=True).execute(text("SELECT 1"))
        with reading(impatient) as other:
            assert other.execute(text("SELECT count(*) FROM tenant")).scalar() == 1
    impatient.dispose()


def test_a_sound_file_has_no_faults(databases: Databases) -> None:
    with reading(databases.main) as connection:
        assert check_integrity(connection) == []
