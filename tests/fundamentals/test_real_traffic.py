"""Two production services' traffic of one hour, through the whole pipeline, a crash included.

Any store runs the same scenario: it is a set of settings here, and nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from deploy.broker import EmbeddedBroker
from tests.harness import OneProcess, Pipeline, free_port
from tests.stores.servers import mysql_server, postgresql_server
from tests.traces import (
    REQUESTS,
    replay_with_a_crash,
    replay_with_a_kill_of_all,
    require_traces,
)

Settings = dict[str, str]


@contextmanager
def jsonl(folder: Path) -> Iterator[Settings]:
    yield {"JSONL_PATH": str(folder / "store.jsonl")}


@contextmanager
def sqlite(folder: Path) -> Iterator[Settings]:
    yield {"SLED_PATH": str(folder / "store.db")}


@contextmanager
def redis(folder: Path) -> Iterator[Settings]:
    server = EmbeddedBroker(folder / "redis", free_port())
    server.start()
    try:
        yield {"REDIS_URL": server.url}
    finally:
        server.stop()


@contextmanager
def postgresql(folder: Path) -> Iterator[Settings]:
    with postgresql_server() as server:
        yield {"DATABASE_URL": server.new_database()}


@contextmanager
def mysql(folder: Path) -> Iterator[Settings]:
    with mysql_server() as server:
        yield {"DATABASE_URL": server.new_database()}


@pytest.mark.parametrize("store", [jsonl, redis, sqlite, postgresql, mysql])
def test_the_figures_are_exact_through_a_crash_and_a_second_delivery(
    store: Callable[[Path], AbstractContextManager[Settings]], folder: Path
) -> None:
    require_traces()

    with store(folder) as settings, Pipeline(folder, workers=3, **settings) as pipeline:
        replay_with_a_crash(pipeline)

    if store is jsonl:
        lines = (folder / "store.jsonl").read_bytes().splitlines()
        ids = {msgspec.json.decode(line)["id"] for line in lines}
        assert len(lines) == len(ids) == REQUESTS


def test_the_figures_are_exact_where_one_process_holds_the_store_and_is_killed(
    folder: Path,
) -> None:
    require_traces()

    with OneProcess(folder, CLICKHOUSE_URL=f"chdb://{folder}/chdb") as pipeline:
        replay_with_a_kill_of_all(pipeline)
