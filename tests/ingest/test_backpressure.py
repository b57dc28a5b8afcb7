"""A queue that is full or away is said to be so, on posts and on readiness, and recovers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.processes import children, resident_bytes
from tests.harness import Pipeline, event, wait_until

BOUND = 10


@pytest.fixture
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest of a small queue that nobody empties."""
    folder = tmp_path_factory.mktemp("workless")
    with Pipeline(folder, workers=0, MAX_BACKLOG_EVENTS=str(BOUND)) as running:
        yield running


def ready(pipeline: Pipeline) -> httpx.Response:
    return pipeline.http.get(f"{pipeline.ingest_url}/healthz/ready")


def assert_says_try_again(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_queue_at_its_bound_answers_429_until_a_worker_has_caught_up(workless: Pipeline) -> None:
    assert workless.post([event(n) for n in range(BOUND - 1)]).status_code == 202
    assert ready(workless).status_code == 200
    assert workless.post([event(BOUND - 1)]).status_code == 202

    for _ in range(3):
        refused = workless.post([event(BOUND)])
        assert_says_try_again(refused, 429, "queue_full")
        assert f"{BOUND} events" in refused.json()["error"]["message"]
    assert_says_try_again(ready(workless), 503, "queue_full")
    assert workless.http.get(f"{workless.ingest_url}/healthz/live").status_code == 200
    assert workless.backlog() == BOUND

    workless.start_worker()
    wait_until(lambda: ready(workless).status_code == 200, within=30, what="room again")
    assert workless.post([event(BOUND)]).status_code == 202
    workless.wait_for_total(BOUND + 1)


def test_what_is_wrong_with_a_request_is_said_while_the_queue_is_full(workless: Pipeline) -> None:
    workless.post([event(n) for n in range(BOUND)])

    assert workless.post([event(1), {"id": "bad"}]).status_code == 429
    assert workless.post([{"id": "bad"}]).status_code == 422
    assert workless.post([]).status_code == 202


def test_a_queue_over_its_bound_in_bytes_answers_429(tmp_path: Path) -> None:
    with Pipeline(tmp_path, workers=0, MAX_BACKLOG_BYTES="1024") as running:
        assert running.post([event(n) for n in range(20)]).status_code == 202

        assert_says_try_again(running.post([event(20)]), 429, "queue_full")
        assert_says_try_again(ready(running), 503, "queue_full")


def test_a_broker_that_is_away_is_503_until_it_is_back(workless: Pipeline) -> None:
    assert workless.post([event(1)]).status_code == 202
    workless.broker.stop()

    for _ in range(3):
        assert_says_try_again(workless.post([event(2)]), 503, "queue_unavailable")
    assert_says_try_again(ready(workless), 503, "queue_unavailable")
    assert workless.http.get(f"{workless.ingest_url}/healthz/live").status_code == 200

    workless.broker.start()
    wait_until(lambda: ready(workless).status_code == 200, within=30, what="the broker back")
    assert workless.post([event(2)]).status_code == 202
    assert workless.backlog() == 2


def test_events_that_a_broker_that_is_away_could_not_take_are_not_kept(workless: Pipeline) -> None:
    [ingest] = workless.running("ingest")
    [pid] = children(ingest.process.pid)
    events = [event(n, request={"endpoint": "/" + "x" * 1_000}) for n in range(1_000)]
    workless.broker.stop()
    assert workless.post(events).status_code == 503
    before = resident_bytes(pid)

    for _ in range(20):
        assert workless.post(events).status_code == 503

    assert resident_bytes(pid) - before < 10_000_000


def test_a_broker_that_may_throw_events_away_is_warned_of_at_the_start(
    workless: Pipeline,
) -> None:
    assert "maxmemory-policy" not in workless.logs()
    with workless.redis() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    [ingest] = workless.running("ingest")
    ingest.terminate()

    for service in (workless.start_ingest(), workless.start_worker()):
        wait_until(
            lambda service=service: "maxmemory-policy is volatile-lru" in service.output(),  # type: ignore[misc]
            what=f"a warning of {service.name}",
        )


def test_a_broker_that_refuses_writes_is_503_and_nothing_is_half_queued(
    workless: Pipeline,
) -> None:
    client = workless.redis()
    try:
        client.config_set("maxmemory", 1)
        answer = workless.post([event(n) for n in range(3)])
        assert_says_try_again(answer, 503, "queue_unavailable")
        client.config_set("maxmemory", 0)
    finally:
        client.close()

    assert workless.backlog() == 0
    assert workless.post([event(n) for n in range(3)]).status_code == 202
    assert workless.backlog() == 3
