"""`GET /analytics/dead-letters` and `POST /analytics/dead-letters/replay`."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from query_api.app import create_app
from shared.queue_admin import QueueAdmin
from shared.settings import load_settings
from shared.stores.memory import MemoryStore
from shared.stream import DEAD
from tests.harness import Pipeline, event, wait_until
from tests.query_api.server import QueryServer

CANARY = "the words of a message"
ENTRY = msgspec.msgpack.encode([["native", [{**event(1), "messages": CANARY}]]])


@pytest.fixture(scope="module")
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Services without any worker, so that letters and queue stay as a test leaves them."""
    with Pipeline(tmp_path_factory.mktemp("workless"), workers=0) as running:
        yield running


@pytest.fixture
def pipeline(workless: Pipeline) -> Pipeline:
    with workless.redis() as client:
        client.flushall()
    return workless


def bury(pipeline: Pipeline, count: int, payload: bytes = ENTRY) -> list[str]:
    """Dead letters as a worker leaves them; their ids, the newest first."""
    with pipeline.redis() as client:
        pipe = client.pipeline()
        for number in range(count):
            pipe.xadd(
                DEAD,
                {
                    "id": f"event-{number}",
                    "reason": "ValueError: told to choke",
                    "at": 1_700_000_000.5,
                    "source": "native",
                    "attempts": 5,
                    "payload": payload,
                },
            )
        ids = pipe.execute()
    return [letter_id.decode() for letter_id in reversed(ids)]


def replay(pipeline: Pipeline, **options: Any) -> httpx.Response:
    return pipeline.http.post(f"{pipeline.query_url}/analytics/dead-letters/replay", **options)


def test_a_letter_tells_what_why_when_from_where_and_how_often(pipeline: Pipeline) -> None:
    [letter_id] = bury(pipeline, 1)

    answer = pipeline.get("dead-letters")

    assert (answer["count"], answer["total"], answer["next_cursor"]) == (1, 1, None)
    [letter] = answer["dead_letters"]
    stored = letter.pop("event")
    assert letter == {
        "id": letter_id,
        "event_id": "event-0",
        "reason": "ValueError: told to choke",
        "at": 1_700_000_000.5,
        "source": "native",
        "attempts": 5,
    }
    assert (stored["id"], stored["request"]["model"]) == ("event-1", "gpt-4o")
    assert CANARY not in json.dumps(answer)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1 " + CANARY.encode(),
        msgspec.msgpack.encode([["native", [{"id": "x", "messages": CANARY}]]]),
        msgspec.msgpack.encode([["native", []]]),
        b"\x91" * 100_000,
    ],
    ids=["no msgpack", "no event", "nothing", "nesting without end"],
)
def test_what_can_not_be_read_is_shown_as_null(pipeline: Pipeline, payload: bytes) -> None:
    bury(pipeline, 1, payload)

    answer = pipeline.get("dead-letters")

    assert answer["dead_letters"][0]["event"] is None
    assert CANARY not in json.dumps(answer)


def test_pages_show_each_letter_once_newest_first_though_new_ones_arrive(
    pipeline: Pipeline,
) -> None:
    ids = bury(pipeline, 7)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = pipeline.get("dead-letters", limit=3, **cursor)
        seen += [letter["id"] for letter in page["dead_letters"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        bury(pipeline, 1)

    assert seen == ids


def test_letters_of_events_that_have_ended_are_not_shown(pipeline: Pipeline) -> None:
    bury(pipeline, 3)
    [unreadable] = bury(pipeline, 1, b"\xc1")
    bury(pipeline, 3)
    store = MemoryStore(max_events=9, ttl_seconds=60, clock=lambda: 1_700_000_061)
    settings = load_settings(env_file=None)
    app = create_app(store, QueueAdmin.from_url(pipeline.broker.url), settings)

    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://query") as client:
        page = client.get("/analytics/dead-letters", params={"limit": 1}).json()

    assert [letter["id"] for letter in page["dead_letters"]] == [unreadable]
    assert page["next_cursor"] is None


def test_no_letters_are_an_empty_page(pipeline: Pipeline) -> None:
    empty = {"dead_letters": [], "count": 0, "total": 0, "next_cursor": None}
    assert pipeline.get("dead-letters") == empty
    bury(pipeline, 1)
    assert pipeline.get("dead-letters", limit=0) == {**empty, "total": 1}


def test_the_default_page_is_a_hundred_and_the_largest_a_thousand(pipeline: Pipeline) -> None:
    bury(pipeline, 1_001)

    assert pipeline.get("dead-letters")["count"] == 100
    page = pipeline.get("dead-letters", limit=1_000)
    assert (page["count"], page["total"]) == (1_000, 1_001)
    assert pipeline.get("dead-letters", cursor=page["next_cursor"])["count"] == 1


@pytest.mark.parametrize("query_string", ["limit=1001", "limit=-1", "cursor=x", "cursor=", "a=1"])
def test_a_bad_parameter_is_named(query: QueryServer, query_string: str) -> None:
    name = query_string.partition("=")[0]
    assert query.refusal("dead-letters", query_string) == (400, name)


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"ids": None}}, {"content": b" \n"}])
def test_without_ids_all_letters_are_replayed(pipeline: Pipeline, body: dict[str, Any]) -> None:
    bury(pipeline, 3)

    assert replay(pipeline, **body).json() == {"replayed": 3, "missing": []}

    state = pipeline.get("pipeline")
    assert (state["backlog"], state["dead_letters"], state["replayed_total"]) == (3, 0, 3)


@pytest.mark.parametrize("chunked", [False, True])
def test_with_ids_only_those_are_replayed(pipeline: Pipeline, chunked: bool) -> None:
    _, second, first = bury(pipeline, 3)
    content = json.dumps({"ids": [first, "7-7", second]}).encode()

    answer = replay(pipeline, content=iter([content]) if chunked else content)

    assert answer.json() == {"replayed": 2, "missing": ["7-7"]}
    assert pipeline.get("dead-letters")["total"] == 1


def test_no_ids_replay_nothing(pipeline: Pipeline) -> None:
    bury(pipeline, 1)
    assert replay(pipeline, json={"ids": []}).json() == {"replayed": 0, "missing": []}


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b'{"ids": "1-1"}', b'{"ids": ["x"]}', b'{"id": []}', b"[" * 100_000],
)
def test_a_body_that_names_no_ids_is_refused_and_replays_nothing(
    pipeline: Pipeline, content: bytes
) -> None:
    bury(pipeline, 1)

    answer = replay(pipeline, content=content)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "ids"
    assert pipeline.get("dead-letters")["total"] == 1


def test_a_body_over_the_limit_is_refused(pipeline: Pipeline) -> None:
    answer = replay(pipeline, content=b" " * (1024 * 1024 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [b"[]", b"zz\r\n{}\r\n0\r\n\r\n", b"5\r\n{}"])
def test_a_body_that_is_badly_chunked_is_refused_and_replays_nothing(
    pipeline: Pipeline, body: bytes
) -> None:
    host, port = pipeline.query_url.removeprefix("http://").split(":")
    head = b"POST /analytics/dead-letters/replay HTTP/1.1\r\nHost: x\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"type":"invalid_request"' in answer


def test_a_replayed_event_is_stored_by_the_worker(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as running:
        bury(running, 2)

        assert replay(running).json()["replayed"] == 2

        running.wait_for_total(1)
        wait_until(lambda: running.get("pipeline")["backlog"] == 0, what="an empty queue")
        assert running.get("pipeline")["duplicates_total"] == 1


def test_without_its_queue_a_replay_says_so(query: QueryServer) -> None:
    answer = query.http.post("/analytics/dead-letters/replay")

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "queue_unavailable"
