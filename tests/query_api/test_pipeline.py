"""`GET /analytics/pipeline`: the queue as it is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from query_api.pipeline import Limits, describe
from shared.pipeline import BrokerState, PipelineState, WorkerState
from tests.harness import Pipeline, event, wait_until
from tests.query_api.server import QueryServer

LIMITS = Limits(events=1_000, bytes=2_000, dead_letters=10)
BROKER = BrokerState(
    version="7.2.0",
    uptime_seconds=100,
    used_memory_bytes=1_000_000,
    maxmemory_bytes=0,
    maxmemory_policy="noeviction",
    aof_enabled=True,
    appendfsync="always",
)
BUSY = WorkerState(
    name="busy",
    started=0.0,
    at=1.0,
    seconds_since_progress=0.5,
    last_entry="1-0",
    written=7,
    duplicates=1,
    trouble=None,
    alive=True,
)
STUCK = replace(
    BUSY, name="stuck", seconds_since_progress=75.0, trouble="the store is away", alive=False
)
QUIET = PipelineState(
    backlog=0,
    backlog_entries=0,
    backlog_bytes=0,
    oldest_pending_seconds=None,
    workers=[BUSY],
    dead_letters=0,
    dead_letters_total=0,
    dead_letters_dropped=0,
    replayed_total=0,
    written_total=7,
    duplicates_total=1,
    expired_total=0,
    broker=BROKER,
)
WAITING = replace(QUIET, backlog=500, backlog_entries=1, backlog_bytes=800)


@pytest.fixture(scope="module")
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("workless"), workers=0) as running:
        yield running


def test_what_waits_is_shown_until_a_worker_has_written_it(workless: Pipeline) -> None:
    empty = workless.get("pipeline")
    assert (empty["backlog"], empty["oldest_pending_seconds"]) == (0, None)
    workless.post([event(n) for n in range(20)])

    waiting = workless.get("pipeline")
    assert (waiting["backlog"], waiting["backlog_entries"]) == (20, 1)
    assert 20 * 100 < waiting["backlog_bytes"] < 20 * 1_000
    assert 0 <= waiting["oldest_pending_seconds"] < 10
    assert waiting["warnings"] == ["20 events wait and no worker is alive"]

    workless.start_worker()
    written = wait_until(lambda: _once(workless, "written_total", 20), what="20 written")
    assert (written["backlog"], written["backlog_entries"], written["backlog_bytes"]) == (0, 0, 0)
    assert written["oldest_pending_seconds"] is None
    assert written["warnings"] == []
    workless.post([event(n) for n in range(5)])
    again = wait_until(lambda: _once(workless, "duplicates_total", 5), what="5 seen again")
    [worker] = again["workers"]
    assert worker["alive"] is True
    assert worker["seconds_since_progress"] < 5
    assert (worker["written"], worker["duplicates"]) == (20, 5)
    assert worker["started"] <= worker["at"]
    assert "-" in worker["last_entry"]
    assert again["written_total"] == 20


def test_limits_and_broker_are_named(workless: Pipeline) -> None:
    state = workless.get("pipeline")

    assert state["limits"] == {"events": 1_000_000, "bytes": 1_073_741_824}
    assert state["dead_letters_limit"] == 10_000
    assert state["broker"]["maxmemory_policy"] == "noeviction"
    assert state["broker"]["appendfsync"] == "always"
    assert state["broker"]["used_memory_bytes"] > 0


def test_a_broker_that_may_evict_is_warned_of(workless: Pipeline) -> None:
    with workless.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        [warning] = workless.get("pipeline")["warnings"]
        client.config_set("maxmemory-policy", "noeviction")

    assert "maxmemory-policy is allkeys-lru" in warning


def test_without_its_queue_it_says_so(query: QueryServer) -> None:
    answer = query.ask("pipeline")

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "queue_unavailable"


def test_an_unknown_parameter_is_refused(query: QueryServer) -> None:
    assert query.refusal("pipeline", "limit=5") == (400, "limit")


@pytest.mark.parametrize(
    ("state", "sentences"),
    [
        (QUIET, []),
        (WAITING, []),
        (replace(QUIET, workers=[]), []),
        (replace(QUIET, workers=[STUCK]), []),
        (replace(WAITING, workers=[]), ["500 events wait and no worker is alive"]),
        (
            replace(WAITING, workers=[BUSY, STUCK]),
            ["worker stuck has made no progress for 75 s: the store is away"],
        ),
        (
            replace(WAITING, workers=[STUCK]),
            [
                "500 events wait and no worker is alive",
                "worker stuck has made no progress for 75 s: the store is away",
            ],
        ),
        (
            replace(WAITING, backlog=1_000),
            ["the queue is at its bound of 1000 events or 2000 bytes: ingest answers 429"],
        ),
        (
            replace(WAITING, backlog_bytes=2_001),
            ["the queue is at its bound of 1000 events or 2000 bytes: ingest answers 429"],
        ),
        (
            replace(QUIET, dead_letters=10, dead_letters_dropped=3),
            ["the dead letters are at their bound of 10: 3 of the oldest have been dropped so far"],
        ),
        (replace(QUIET, broker=replace(BROKER, maxmemory_bytes=2_000_000)), []),
        (
            replace(QUIET, broker=replace(BROKER, maxmemory_bytes=1_999, used_memory_bytes=9)),
            [
                "the broker's maxmemory of 1999 bytes is less than the queue's bound of 2000 bytes:"
                " ingest would answer 503 before it answers 429"
            ],
        ),
        (
            replace(QUIET, broker=replace(BROKER, maxmemory_bytes=1_000_000)),
            ["the broker is out of memory (1000000 of 1000000 bytes): ingest answers 503"],
        ),
        (
            replace(QUIET, broker=replace(BROKER, aof_enabled=False)),
            [
                "the broker keeps no append-only file: what is queued is lost when it restarts; "
                "set appendonly to yes"
            ],
        ),
    ],
)
def test_each_thing_that_is_wrong_has_a_sentence(
    state: PipelineState, sentences: list[str]
) -> None:
    assert describe(state, LIMITS).warnings == sentences


def test_a_broker_that_tells_nothing_is_not_blamed() -> None:
    silent = BrokerState.of({}, None)
    assert silent.warnings() == []
    assert silent.maxmemory_policy is None


def _once(pipeline: Pipeline, total: str, count: int) -> Any:
    """The state, once this total has come to `count`."""
    state = pipeline.get("pipeline")
    return state if state[total] == count else None
