"""Services that start while their store's server is away: they wait for it, and say so."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.backends import Open, postgresql, redis
from tests.harness import Pipeline, event, wait_until

EVENTS = 20


@pytest.mark.long
@pytest.mark.parametrize("store", [redis, postgresql])
def test_services_started_without_their_store_wait_for_it_and_lose_nothing(
    store: Open, folder: Path
) -> None:
    with store(folder) as backend, Pipeline(folder, workers=1, **backend.settings) as pipeline:
        assert backend.server is not None
        for service in (*pipeline.running("worker"), *pipeline.running("query")):
            service.terminate()
        backend.server.kill()

        worker, query = pipeline.start_worker(), pipeline.start_query()
        assert pipeline.post([event(n) for n in range(EVENTS)]).status_code == 202

        wait_until(lambda: "the store is away" in worker.output(), what="a word of the worker")
        wait_until(lambda: _status(pipeline, "/healthz/live") == 200, what="query_api")
        assert _status(pipeline, "/healthz/ready") == 503
        assert _status(pipeline, "/analytics/stats") == 503
        assert pipeline.backlog() == EVENTS
        backend.server.start()

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
