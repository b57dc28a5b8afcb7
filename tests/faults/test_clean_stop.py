"""SIGTERM to every service at once, under load: each ends in order, and nothing is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.audit import close_books, wait_until_empty
from tests.faults.clients import send
from tests.harness import Pipeline, Service, wait_until

STOP_SECONDS = 10.0
EVENTS = 4_000


@pytest.mark.long
def test_all_services_end_in_order_within_ten_seconds_of_sigterm(folder: Path) -> None:
    with Pipeline(folder, workers=2) as pipeline, ThreadPoolExecutor() as pool:
        sending = pool.submit(
            send, pipeline.ingest_url, 0, count=EVENTS, rate=EVENTS / 4, seed="stop"
        )
        asked = threading.Event()
        asking = pool.submit(keep_asking, pipeline.query_url, asked)
        wait_until(lambda: pipeline.total() > EVENTS / 8, what="some events stored")

        services = [service for service in pipeline.services if service.running]
        ends = list(pool.map(stop, services))
        pipeline.start_services()
        delivered = sending.result()
        asked.set()

        assert [status for status, _ in ends] == [0] * 4, pipeline.logs()
        assert max(seconds for _, seconds in ends) < STOP_SECONDS
        assert "Traceback" not in pipeline.logs()
        assert asking.result() > 0
        assert not delivered.problems
        assert not wait_until_empty(pipeline)
        books = close_books(pipeline, sorted(delivered.acknowledged))[0]
        assert books.events == EVENTS
        assert not books.faults()


def stop(service: Service) -> tuple[int, float]:
    """Its exit status, and the seconds it took."""
    began = time.monotonic()
    return service.terminate(within=STOP_SECONDS), time.monotonic() - began


def keep_asking(url: str, stopped: threading.Event) -> int:
    """Ask for figures without a pause; returns how many answers were whole."""
    whole = 0
    with httpx.Client(timeout=5) as client:
        while not stopped.is_set():
            with suppress(httpx.TransportError):
                answer = client.get(f"{url}/analytics/export", params={"start": 0})
                whole += answer.json()["count"] >= 0
    return whole
