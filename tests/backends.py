"""Every store that the whole pipeline can run on: its settings, and its server where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.broker import EmbeddedBroker
from tests.harness import free_port
from tests.stores.servers import DatabaseServer, mysql_server, postgresql_server

Server = EmbeddedBroker | DatabaseServer


@dataclass(frozen=True, kw_only=True)
class Backend:
    """`settings` are a `Pipeline`'s; `server` runs, and can be ended and started again."""

    settings: dict[str, str]
    server: Server | None = None
    one_process: bool = False


Open = Callable[[Path], AbstractContextManager[Backend]]


@contextmanager
def jsonl(folder: Path) -> Iterator[Backend]:
    yield Backend(settings={"JSONL_PATH": str(folder / "store.jsonl")})


@contextmanager
def sqlite(folder: Path) -> Iterator[Backend]:
    yield Backend(settings={"SLED_PATH": str(folder / "store.db")})


@contextmanager
def redis(folder: Path) -> Iterator[Backend]:
    server = EmbeddedBroker(folder / "redis", free_port())
    server.start()
    try:
        yield Backend(settings={"REDIS_URL": server.url}, server=server)
    finally:
        server.stop()


@contextmanager
def postgresql(folder: Path) -> Iterator[Backend]:
    with postgresql_server() as server:
        yield Backend(settings={"DATABASE_URL": server.new_database()}, server=server)


@contextmanager
def mysql(folder: Path) -> Iterator[Backend]:
    with mysql_server() as server:
        yield Backend(settings={"DATABASE_URL": server.new_database()}, server=server)


@contextmanager
def clickhouse(folder: Path) -> Iterator[Backend]:
    """The embedded engine, which lives in one process with all services."""
    yield Backend(settings={"CLICKHOUSE_URL": f"chdb://{folder}/chdb"}, one_process=True)


BACKENDS: dict[str, Open] = {
    "jsonl": jsonl,
    "redis": redis,
    "sqlite": sqlite,
    "postgresql": postgresql,
    "mysql": mysql,
    "clickhouse": clickhouse,
}
