"""Services that start while their store's server is away: they wait for it, and say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.broker import EmbeddedBroker
from tests.harness import Pipeline, event, free_port, wait_until
from tests.stores.servers import DatabaseServer, postgresql_server

Server = EmbeddedBroker | DatabaseServer
EVENTS = 20


@contextmanager
def redis(folder: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    server = EmbeddedBroker(folder / "redis", free_port())
    server.start()
    yield server, {"REDIS_URL": server.url}
    server.stop()


@contextmanager
def postgresql(folder: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    with postgresql_server() as server:
        yield server, {"DATABASE_URL": server.new_database()}


@pytest.mark.parametrize("store", [redis, pytest.param(postgresql, marks=pytest.mark.long)])
def test_services_started_without_their_store_wait_for_it_and_lose_nothing(
    store: Callable[[Path], AbstractContextManager[tuple[Server, dict[str, str]]]], folder: Path
) -> None:
    with store(folder) as (server, settings), Pipeline(folder, workers=1, **settings) as pipeline:
        for service in (*pipeline.running("worker"), *pipeline.running("query")):
            service.terminate()
        server.kill()

        worker, query = pipeline.start_worker(), pipeline.start_query()
        assert pipeline.post([event(n) for n in range(EVENTS)]).status_code == 202

        wait_until(lambda: "the store is away" in worker.output(), what="a word of the worker")
        wait_until(lambda: _status(pipeline, "/healthz/live") == 200, what="query_api")
        assert _status(pipeline, "/healthz/ready") == 503
        assert _status(pipeline, "/analytics/stats") == 503
        assert pipeline.backlog() == EVENTS
        server.start()

        pipeline.wait_ready()
        pipeline.wait_for_total(EVENTS)
        assert worker.running
        assert query.running
        assert "Traceback" not in worker.output()


def _status(pipeline: Pipeline, path: str) -> int:
    try:
        return pipeline.http.get(f"{pipeline.query_url}{path}").status_code
    except httpx.TransportError:
        return 0
