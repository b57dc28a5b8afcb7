"""With a time to live of two seconds, three seconds later nothing of an event is left anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import redis as redis_client
import sqlalchemy as sa

from shared.stores.clickhouse import ClickHouseStore
from tests.backends import Open, clickhouse, jsonl, mysql, postgresql, redis, sqlite
from tests.harness import OneProcess, Pipeline, event

EVENTS = 50
long = partial(pytest.param, marks=pytest.mark.long)


def _nothing_in_a_file(path: str) -> None:
    assert Path(path).stat().st_size == 0
    assert not list(Path(path).parent.glob("*.index/*/*.parquet"))


def _no_key(url: str) -> None:
    with closing(redis_client.Redis.from_url(url)) as client:
        assert client.keys("*") == []


def _no_row(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for table in ("analytics_events", "analytics_rollups"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
    engine.dispose()


def _nothing_without_a_ttl(url: str) -> None:
    with closing(ClickHouseStore(url)) as store:
        assert store.stats().total_events == 0


@pytest.mark.parametrize(
    ("store", "assert_empty"),
    [
        (redis, _no_key),
        long(jsonl, _nothing_in_a_file),
        long(sqlite, lambda path: _no_row(f"sqlite:///{path}")),
        long(postgresql, _no_row),
        long(mysql, _no_row),
        long(clickhouse, _nothing_without_a_ttl),
    ],
)
def test_three_seconds_later_nothing_is_left(
    store: Open, assert_empty: Callable[[str], None], folder: Path
) -> None:
    with store(folder) as backend:
        started = OneProcess if backend.one_process else Pipeline
        with started(folder, workers=1, TTL_SECONDS="2", **backend.settings) as pipeline:
            # A little ahead, so that a busy machine has the time to show them first.
            timestamp = int(time.time()) + 3
            pipeline.post([event(n, timestamp=timestamp) for n in range(EVENTS)])
            pipeline.wait_for_total(EVENTS)
            time.sleep(max(0.0, timestamp + 3 - time.time()))
            assert pipeline.total() == 0
            if not backend.one_process:
                assert_empty(*backend.settings.values())
        if backend.one_process:
            # Its folder is open to one process at a time.
            assert_empty(*backend.settings.values())
