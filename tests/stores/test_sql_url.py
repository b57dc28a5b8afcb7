"""Which database a URL means, and what is said of one that means none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from shared.stores import open_store
from shared.stores.sql_url import dialect_of


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///data/events.db", "sqlite"),
        ("sqlite+pysqlite:////var/lib/events.db", "sqlite"),
        ("postgres://u:p@host/name", "postgresql"),
        ("postgresql://u:p@host:5432/name?sslmode=require", "postgresql"),
        ("postgresql+psycopg://u:p@host/name", "postgresql"),
        ("postgresql+asyncpg://u:p@host/name", "postgresql"),
        ("mysql://u:p@host/name", "mysql"),
        ("mariadb://u:p@host/name", "mysql"),
        ("mysql+mysqldb://u:p@host/name", "mysql"),
    ],
)
def test_a_url_chooses_its_database(url: str, kind: str) -> None:
    assert dialect_of(url, "URL").backend_type == kind


@pytest.mark.parametrize(
    "url",
    [
        "no url",
        "oracle://u:secret@host/name",
        "postgresql://u:secret@host",
        "postgresql://u:secret@host:port/name",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_of_none_is_an_error_that_names_the_variable_and_no_password(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_store(load_settings(None, database_url=url))
    (problem,) = raised.value.problems
    assert problem.startswith("ROUTIIUM_ANALYTICS_DATABASE_URL: ")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://host/name", "psycopg", "postgresql"),
        ("mysql://host/name", "pymysql", "mysql"),
    ],
)
def test_a_driver_that_is_missing_is_named_by_its_extra(
    url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(SettingsError, match=rf"routiium-analytics\[{extra}\]") as raised:
        dialect_of(url, "URL")
    assert len(raised.value.problems) == 1


def test_sled_path_is_a_sqlite_file_whose_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "events.sled"
    store = open_store(load_settings(None, sled_path=path))
    assert store.backend_type == "sqlite"
    assert path.read_bytes().startswith(b"SQLite format 3")
    store.close()
