"""The schema: made once whoever comes first, and the one that the queries expect."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.errors import StoreError
from shared.stores import sql_migrate
from shared.stores.sql import SqlStore
from shared.stores.sql_schema import INDEXED, ExactText, events, metadata, rollups
from shared.stores.sql_url import dialect_of
from tests.harness import ROOT, clean_environment
from tests.stores.samples import EVER, make_event

ROUNDS = 10

OPEN_AND_APPEND = """
import sys
from shared.stores.sql import SqlStore
from shared.stores.sql_url import dialect_of
from tests.stores.samples import make_event

for line in sys.stdin:
    store = SqlStore(dialect_of(line.strip(), "URL"))
    print(store.append([make_event(sys.argv[1]), make_event("shared")]), flush=True)
    store.close()
"""


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database of each kind and gives its URL."""
    if request.param == "sqlite":
        numbers = iter(range(100))
        return lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"
    server = request.getfixturevalue(request.param)
    return server.new_database  # type: ignore[no-any-return]


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = SqlStore(dialect_of(url, "URL"))
    yield opened
    opened.close()


@pytest.fixture
def connection(store: SqlStore, url: str) -> Iterator[sa.Connection]:
    """A connection to the store's database that is not the store's."""
    engine = dialect_of(url, "URL").engine()
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@contextmanager
def _opener(event_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that opens each database that it is told of and appends to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_APPEND, event_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environment({}),
    )
    try:
        yield process
    finally:
        process.communicate(timeout=60)


def test_two_processes_that_start_at_once_make_one_schema(new_url: Callable[[], str]) -> None:
    with _opener("one") as one, _opener("other") as other:
        for _ in range(ROUNDS):
            url = new_url()
            for process in (one, other):
                assert process.stdin is not None
                process.stdin.write(f"{url}\n")
                process.stdin.flush()
            new = [int(p.stdout.readline()) for p in (one, other) if p.stdout is not None]

            store = SqlStore(dialect_of(url, "URL"))
            assert sum(new) == store.stats().total_events == 3
            store.close()


def test_the_migrated_schema_is_the_one_that_queries_expect(connection: sa.Connection) -> None:
    context = MigrationContext.configure(
        connection, opts={"version_table": sql_migrate.VERSION_TABLE, "compare_type": _differ}
    )
    differences = [
        difference
        for difference in compare_metadata(context, metadata)
        # Indexes of a text's beginning are the migrations' alone.
        if not (difference[0] == "remove_index" and difference[1].name in _text_indexes())
    ]
    assert differences == []


def _differ(
    context: MigrationContext,
    _: object,
    __: object,
    found: sa.types.TypeEngine[Any],
    expected: sa.types.TypeEngine[Any],
) -> bool | None:
    """Whether two types are different; None leaves it to Alembic, which knows no decorators."""
    if not isinstance(expected, ExactText):
        return None
    dialect = context.dialect
    return found.compile(dialect) != expected.compile(dialect)


def _text_indexes() -> set[str]:
    return {f"{events.name}_{name}" for name in INDEXED}


def test_each_indexed_dimension_has_its_index(connection: sa.Connection) -> None:
    found = {index["name"] for index in sa.inspect(connection).get_indexes(events.name)}
    assert found >= _text_indexes()


def test_a_schema_is_left_alone_once_it_is_up_to_date(
    store: SqlStore, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([make_event("a")])
    monkeypatch.setitem(sys.modules, "alembic", None)

    again = SqlStore(dialect_of(url, "URL"))
    assert again.aggregate(EVER).total_requests == 1
    again.close()


def test_a_migration_that_was_cut_short_goes_on(
    store: SqlStore, connection: sa.Connection, url: str
) -> None:
    index = f"{events.name}_status_code"
    on = f" ON {events.name}" if connection.dialect.name == "mysql" else ""
    connection.exec_driver_sql(f"DROP INDEX {index}{on}")
    connection.exec_driver_sql(f"DROP TABLE {rollups.name}")
    connection.exec_driver_sql(f"DELETE FROM {sql_migrate.VERSION_TABLE}")
    connection.commit()

    again = SqlStore(dialect_of(url, "URL"))
    assert again.append([make_event("a")]) == 1
    assert index in {found["name"] for found in sa.inspect(connection).get_indexes(events.name)}
    again.close()


def test_a_newer_schema_is_refused(store: SqlStore, connection: sa.Connection, url: str) -> None:
    connection.exec_driver_sql(f"UPDATE {sql_migrate.VERSION_TABLE} SET version_num = '9999'")
    connection.commit()

    with pytest.raises(StoreError, match="9999"):
        SqlStore(dialect_of(url, "URL"))


def test_the_newest_migration_is_the_one_that_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "shared/stores/migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == sql_migrate.HEAD
