"""Memory: all services in one process, told apart by port."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.broker import EmbeddedBroker
from tests.deploy.running import Run, broker_settings
from tests.harness import PREFIX

MEMORY = {PREFIX + "FORCE_MEMORY": "1", PREFIX + "MAX_EVENTS": "20"}


@pytest.fixture
def memory(project: Path, broker: EmbeddedBroker) -> Iterator[Run]:
    with Run(project, **MEMORY, **broker_settings(broker.url)) as run:
        run.wait_ready()
        yield run


def test_an_event_posted_to_one_port_is_answered_at_the_other(memory: Run) -> None:
    memory.post(1, 2, 2, 3)

    memory.wait_for_total(3)
    assert memory.get("stats")["backend_type"] == "memory"
    page = memory.get("events", start=1_700_000_000, end=1_700_000_100, order="asc")
    assert [event["id"] for event in page["events"]] == ["event-1", "event-2", "event-3"]


def test_each_port_answers_for_its_own_service(memory: Run) -> None:
    assert httpx.get(f"{memory.ingest}/analytics/stats").status_code == 404
    assert httpx.post(f"{memory.query}/analytics/events", json=[]).status_code == 405
    assert httpx.get(f"{memory.ingest}/analytics/events").status_code == 405


def test_the_oldest_events_go_at_the_bound(memory: Run) -> None:
    memory.post(*range(20))
    memory.wait_for_total(20)
    memory.post(*range(20, 25))

    memory.wait_for_total(20)
    stats = memory.get("stats")
    assert stats["max_events"] == 20
    page = memory.get("events", start=1_700_000_000, end=1_700_000_100, order="asc")
    assert [event["id"] for event in page["events"]] == [f"event-{n}" for n in range(5, 25)]


def test_a_clear_removes_everything(memory: Run) -> None:
    memory.post(1, 2)
    memory.wait_for_total(2)

    assert httpx.post(f"{memory.query}/analytics/clear").json()["success"] is True

    assert memory.get("stats")["total_events"] == 0
    memory.post(3)
    memory.wait_for_total(1)


def test_it_stops_in_order(memory: Run) -> None:
    memory.post(1)
    memory.wait_for_total(1)

    assert memory.stop() == 0
    output = memory.service.output()
    assert "Traceback" not in output
    assert "SIGKILL" not in output
