"""`POST /analytics/clear`: what is stored goes, and what still waits in the queue."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.harness import Pipeline, event, wait_until
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event


def _clear(pipeline: Pipeline) -> httpx.Response:
    return pipeline.http.post(f"{pipeline.query_url}/analytics/clear")


def test_clear_removes_what_is_stored_and_what_waits(tmp_path: Path) -> None:
    with Pipeline(tmp_path, workers=0) as pipeline:
        assert pipeline.post([event(n) for n in range(50)]).status_code == 202
        store = tmp_path / "store.jsonl"
        store.write_text('{"id":"old","timestamp":1700000000,"request":{"endpoint":"/v1"}}\n')
        assert pipeline.total() == 1

        answer = _clear(pipeline)
        assert answer.status_code == 200
        assert answer.json() == {"success": True, "message": "Analytics data cleared"}
        assert pipeline.total() == 0

        # What comes later is written; had the queue kept the rest, it would come first.
        pipeline.post([event(n) for n in range(100, 103)])
        pipeline.start_worker()
        pipeline.wait_for_total(3)
        page = pipeline.get("events", start=0, end=1_800_000_000, order="asc")
        assert [found["id"] for found in page["events"]] == ["event-100", "event-101", "event-102"]


def test_what_was_cleared_may_come_again(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.post([event(1), event(2)])
        pipeline.wait_for_total(2)
        assert _clear(pipeline).status_code == 200
        assert pipeline.total() == 0

        pipeline.post([event(1)])
        pipeline.wait_for_total(1)
        # The worker's own memory of ids is forgotten with the file.
        wait_until(lambda: (tmp_path / "store.jsonl").read_text().count("event-1") == 1)
        assert _clear(pipeline).status_code == _clear(pipeline).status_code == 200


def test_a_clear_without_its_queue_clears_nothing_and_says_so(query: QueryServer) -> None:
    query.store.append([make_event("a")])
    answer = query.http.post("/analytics/clear")

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "queue_unavailable"
    assert int(answer.headers["retry-after"]) > 0
    assert query.get("stats")["total_events"] == 1
