"""The client: `record` neither waits nor fails, and every event is counted once."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import routiium_client.sender
from ingest.admission import Gate
from ingest.native import parse_ndjson
from ingest.privacy import Scrubber
from routiium_client import AnalyticsClient, AsyncAnalyticsClient
from routiium_client.event import key_id, uuid7
from shared.events import MAX_ERROR_MESSAGE
from tests.client.fake_ingest import FakeIngest, Reply, take_all
from tests.harness import Pipeline, clean_environment, event, free_port, wait_until

CANARY = "the-canary-sings"


class Hostile(dict[str, Any]):
    """Raises, whatever it is asked for."""

    def __str__(self) -> str:
        raise OSError("no")

    def get(self, *arguments: Any) -> Any:
        raise OSError("no")


@pytest.fixture
def ingest() -> Iterator[FakeIngest]:
    with FakeIngest() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routiium_client.sender, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(routiium_client.sender, "LONGEST_PAUSE_SECONDS", 0.05)


def nameless(number: int) -> dict[str, Any]:
    return {name: value for name, value in event(number).items() if name != "id"}


def refuse(status: int) -> Any:
    return lambda events: (status, {"error": {"message": "no", "type": "no"}})


def test_events_arrive_whole_in_batches_of_the_size_asked_for(ingest: FakeIngest) -> None:
    with AnalyticsClient(ingest.url, token="t-1", batch_events=10, batch_seconds=60) as client:
        for number in range(20):
            client.record(event(number))
        wait_until(lambda: len(ingest.ids) == 20, what="two batches, long before their time")
        client.record(event(20))

    assert [len(post) for post in ingest.posts] == [10, 10, 1]
    assert [e for post in ingest.posts for e in post] == [event(n) for n in range(21)]
    assert set(ingest.authorizations) == {"Bearer t-1"}


def test_a_path_before_ingests_own_is_kept(ingest: FakeIngest) -> None:
    with AnalyticsClient(f"{ingest.url}/behind/a/proxy/") as client:
        client.record(event(1))

    assert ingest.paths == ["/behind/a/proxy/analytics/events"]


def test_a_batch_that_is_not_full_leaves_after_its_time(ingest: FakeIngest) -> None:
    with AnalyticsClient(ingest.url, batch_seconds=0.1) as client:
        client.record(event(1))
        wait_until(lambda: client.counts.sent == 1, what="a batch of one")


def test_an_event_gets_a_time_ordered_id_and_the_time_when_it_is_recorded(
    ingest: FakeIngest,
) -> None:
    with AnalyticsClient(ingest.url, clock=lambda: 1_700_000_000.5) as client:
        client.record({"request": {"endpoint": "/v1/models"}})

    ((sent,),) = ingest.posts
    assert sent["timestamp"] == 1_700_000_000.5
    assert sent["id"][:13] == uuid7(1_700_000_000.5)[:13]
    assert (sent["id"][14], sent["id"][19] in "89ab") == ("7", True)


@pytest.mark.parametrize("status", [429, 500, 503, 401, 404])
def test_what_is_not_taken_is_repeated_with_the_same_ids(ingest: FakeIngest, status: int) -> None:
    answers = iter([refuse(status), refuse(status), take_all])
    ingest.answer = lambda events: next(answers)(events)

    with AnalyticsClient(ingest.url) as client:
        client.record(nameless(1))
        assert client.flush(10)

    assert len(ingest.posts) == 3
    assert len(set(ingest.ids)) == 1
    assert (client.counts.sent, client.counts.retried, client.counts.dropped) == (1, 2, 0)


def test_a_server_that_comes_back_gets_everything(ingest: FakeIngest) -> None:
    ingest.stop()
    with AnalyticsClient(ingest.url, batch_seconds=0.05) as client:
        for number in range(30):
            client.record(event(number))
        wait_until(lambda: client.counts.retried > 2, what="tries")
        ingest.start()
        assert client.flush(10)

    assert ingest.ids == [f"event-{number}" for number in range(30)]


def test_a_kept_connection_that_the_server_closed_costs_no_retry(ingest: FakeIngest) -> None:
    with AnalyticsClient(ingest.url) as client:
        client.record(event(1))
        assert client.flush(10)
        ingest.stop()
        ingest.start()
        client.record(event(2))
        assert client.flush(10)
        assert client.counts.retried == 0


def test_refused_events_are_counted_and_the_reason_logged(
    ingest: FakeIngest, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(events: list[dict[str, Any]]) -> Reply:
        reason = {"index": 0, "id": "x", "error": "response.status_code: 999 is not in 100–599"}
        return 202, {"accepted": len(events) - 1, "rejected": [reason]}

    ingest.answer = answer
    with caplog.at_level(logging.WARNING), AnalyticsClient(ingest.url) as client:
        for number in range(5):
            client.record(event(number))

    assert (client.counts.sent, client.counts.rejected) == (4, 1)
    assert "999 is not in 100–599" in caplog.text


def test_a_batch_over_the_servers_limit_is_sent_in_halves(ingest: FakeIngest) -> None:
    ingest.answer = lambda events: take_all(events) if len(events) <= 3 else refuse(413)(events)

    with AnalyticsClient(ingest.url) as client:
        for number in range(10):
            client.record(event(number))

    assert client.counts.sent == 10
    assert len(set(ingest.ids)) == 10


def test_past_the_buffer_events_are_dropped_and_counted() -> None:
    client = AnalyticsClient(f"http://127.0.0.1:{free_port()}", buffer_events=50)
    for number in range(80):
        client.record(event(number))

    counts = client.counts
    assert (counts.recorded, counts.buffered, counts.dropped) == (80, 50, 30)
    assert not client.close(0.1)
    assert client.counts.dropped == 80
    client.record(event(81))
    assert client.counts.dropped == 81


def test_recording_is_quick_while_the_server_hangs(ingest: FakeIngest) -> None:
    hung = threading.Event()
    ingest.answer = lambda events: take_all(events) if hung.wait(10) else refuse(500)
    client = AnalyticsClient(ingest.url, batch_events=5)
    for number in range(5):
        client.record(event(number))
    wait_until(lambda: ingest.posts, what="a request that hangs")

    started = time.perf_counter()
    for number in range(1_000):
        client.record(event(number))
    assert time.perf_counter() - started < 1
    hung.set()
    assert client.close()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {"request": "text"},
        {"performance": {"duration_ms": float("nan")}},
        {"id": object()},
        Hostile(),
    ],
)
def test_an_event_of_no_form_is_dropped_and_raises_nothing(ingest: FakeIngest, bad: Any) -> None:
    with AnalyticsClient(ingest.url) as client:
        client.record(bad)

    assert (client.counts.recorded, client.counts.dropped) == (1, 1)


def test_why_an_event_has_no_form_is_logged_once(
    ingest: FakeIngest, caplog: pytest.LogCaptureFixture
) -> None:
    with AnalyticsClient(ingest.url) as client:
        for _ in range(3):
            client.record({"id": object()})

    assert caplog.text.count("a value of type object is no part of an event") == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["search", Hostile(), 5, "files"], ["search", "files"]),
        (("search",), ["search"]),
        ("search", None),
        (5, None),
    ],
)
def test_of_servers_only_names_in_a_list_are_kept(
    ingest: FakeIngest, given: Any, kept: list[str] | None
) -> None:
    with AnalyticsClient(ingest.url) as client:
        client.record({"id": "a", "timestamp": 1, "routing": {"mcp_servers": given}})

    ((sent,),) = ingest.posts
    assert sent["routing"].get("mcp_servers") == kept


def test_an_id_may_be_a_uuid_and_a_timestamp_a_datetime(ingest: FakeIngest) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    name = uuid.uuid4()
    with AnalyticsClient(ingest.url) as client:
        client.record({"id": name, "timestamp": moment, "request": {"endpoint": "/v1"}})

    (received,) = parse_ndjson(ingest.bodies[0])
    gate = Gate(Scrubber(key_salt="", anonymize_ip=False))
    (taken,) = gate.admit([received]).accepted
    assert (taken.id, taken.timestamp) == (str(name), int(moment.timestamp()))


def test_content_and_raw_keys_do_not_leave_the_process(ingest: FakeIngest) -> None:
    hidden = {"messages": [{"content": CANARY}]}
    full = event(1)
    full["request"] |= {"messages": CANARY, "prompt": hidden, "user_agent": hidden}
    full["auth"] = {"api_key": "sk-secret-key", "authenticated": True}
    full |= {"messages": CANARY, "metadata": hidden, "response": {"status_code": 200, "x": CANARY}}
    with AnalyticsClient(ingest.url, key_salt="salty") as client:
        client.record(full)

    (body,) = ingest.bodies
    assert CANARY.encode() not in body
    assert b"sk-secret-key" not in body
    expected = key_id("sk-secret-key", b"salty")
    assert json.loads(body)["auth"] == {"authenticated": True, "api_key_id": expected}


def test_no_half_of_a_credential_is_left_of_a_long_error_message(ingest: FakeIngest) -> None:
    message = "x" * (MAX_ERROR_MESSAGE - 12) + " AKIAIOSFODNN7EXAMPLE " + "y" * 5_000
    with AnalyticsClient(ingest.url) as client:
        client.record(event(1, response={"status_code": 500, "error_message": message}))

    (received,) = parse_ndjson(ingest.bodies[0])
    (taken,) = Gate(Scrubber(key_salt="", anonymize_ip=False)).admit([received]).accepted
    assert taken.response is not None
    kept = taken.response.error_message or ""
    assert len(kept) == MAX_ERROR_MESSAGE
    assert "AKIA" not in kept
    assert len(ingest.bodies[0]) < 3 * MAX_ERROR_MESSAGE


def test_many_threads_lose_no_event(ingest: FakeIngest) -> None:
    with AnalyticsClient(ingest.url, batch_events=50) as client:

        def record() -> None:
            for number in range(250):
                client.record(nameless(number))

        threads = [threading.Thread(target=record) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert client.counts.sent == 2_000
    assert len(set(ingest.ids)) == 2_000


def test_a_forked_child_sends_its_own_events_and_not_its_parents(ingest: FakeIngest) -> None:
    script = f"""
import os, warnings
from routiium_client import AnalyticsClient
warnings.simplefilter("ignore")
client = AnalyticsClient({ingest.url!r}, batch_seconds=60)
record = lambda name: client.record({{"id": name, "request": {{"endpoint": "/v1"}}}})
record("before")
pid = os.fork()
record("parent" if pid else "child")
if pid:
    os.waitpid(pid, 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=clean_environment({}))

    assert sorted(ingest.ids) == ["before", "child", "parent"]


def test_what_waits_is_sent_when_the_interpreter_ends(ingest: FakeIngest) -> None:
    script = f"""
import sys
from routiium_client import AnalyticsClient
client = AnalyticsClient({ingest.url!r}, batch_seconds=60)
for number in range(700):
    client.record({{"request": {{"endpoint": "/v1/models"}}}})
heavy = {{"typer", "rich", "msgspec", "falcon", "redis", "httpx", "pydantic"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=clean_environment({}))

    assert len(set(ingest.ids)) == 700


def test_a_dead_server_does_not_hold_up_the_end_for_long() -> None:
    script = f"""
from routiium_client import AnalyticsClient, client as module
module.CLOSE_SECONDS = 0.2
client = AnalyticsClient("http://127.0.0.1:{free_port()}")
client.record({{"request": {{"endpoint": "/v1/models"}}}})
"""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, env=clean_environment({}))
    assert time.monotonic() - started < 4


def test_the_asyncio_client_never_holds_up_its_loop(ingest: FakeIngest) -> None:
    def take_slowly(events: list[dict[str, Any]]) -> Reply:
        time.sleep(0.3)
        return take_all(events)

    ingest.answer = take_slowly

    async def ticks_while_flushing() -> int:
        ticks = 0
        async with AsyncAnalyticsClient(ingest.url) as client:
            client.record(event(1))
            flushing = asyncio.create_task(client.flush(10))
            while not flushing.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert await flushing
        assert client.counts.sent == 1
        return ticks

    assert asyncio.run(ticks_while_flushing()) > 5


@pytest.mark.parametrize(
    ("url", "token"), [("127.0.0.1:8087", None), ("ftp://x", None), ("http://x", "a\nb")]
)
def test_a_client_that_could_never_send_is_refused_at_once(url: str, token: str | None) -> None:
    with pytest.raises(ValueError, match=r"URL|token"):
        AnalyticsClient(url, token=token)


def test_the_real_ingest_takes_what_the_client_sends(pipeline: Pipeline) -> None:
    with AnalyticsClient(pipeline.ingest_url) as client:
        for number in range(1_200):
            client.record(nameless(number))
        assert client.flush(20)

    assert client.counts.sent == 1_200
    pipeline.wait_for_total(1_200)
