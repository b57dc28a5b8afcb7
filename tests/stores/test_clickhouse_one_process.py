"""All services in one process on ClickHouse's embedded engine, stopped in order and killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.broker import EmbeddedBroker
from tests.deploy.running import Run, broker_settings
from tests.harness import PREFIX, free_port


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    broker = EmbeddedBroker(tmp_path / "broker", free_port())
    broker.start()
    url = f"chdb://{tmp_path}/chdb"
    yield {PREFIX + "CLICKHOUSE_URL": url, **broker_settings(broker.url)}
    broker.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_events_are_answered_and_outlive_an_orderly_stop(
    project: Path, env: Mapping[str, str]
) -> None:
    with Run(project, **env) as run:
        run.wait_ready()
        run.post(1, 2, 2, 3)
        run.wait_for_total(3)
        assert run.get("stats")["backend_type"] == "clickhouse"
        figures = run.get("aggregate", start=1_700_000_000, end=1_700_000_100)
        assert figures["models_used"] == {"gpt-4o": 3}
        assert run.stop(signal.SIGTERM) == 0
        output = run.service.output()
        assert "Traceback" not in output
        assert "SIGKILL" not in output

    with Run(project, **env) as run:
        run.wait_ready()
        run.post(3, 4)
        run.wait_for_total(4)
        page = run.get("events", start=1_700_000_000, end=1_700_000_100, order="asc")
        assert [event["id"] for event in page["events"]] == [f"event-{n}" for n in (1, 2, 3, 4)]
        assert run.stop() == 0


def test_events_outlive_a_kill_of_everything_and_are_counted_once(
    project: Path, env: Mapping[str, str]
) -> None:
    with Run(project, **env) as run:
        run.wait_ready()
        run.post(*range(50))
        run.wait_for_total(50)

    with Run(project, **env) as run:
        run.wait_ready()
        assert run.get("stats")["total_events"] == 50
        run.post(*range(25, 75))
        run.wait_for_total(75)
        assert run.stop() == 0
