"""A large body is gone through beside the event loop, which answers others meanwhile."""

from __future__ import annotations

import gzip
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import falcon
import falcon.asgi
import pytest
from falcon import testing

from ingest.admission import Gate
from ingest.committer import GroupCommitter
from ingest.events import EventsResource, Limits
from ingest.metrics import IngestMetrics
from ingest.privacy import Scrubber
from ingest.source import Received, Source
from shared.entries import Backlog
from shared.http import Tokens
from shared.stream import EventQueue, connect

LIMIT = 8 * 1024 * 1024
NOBODY = "redis://127.0.0.1:1/0"


class Seen:
    """A source that takes any body, and where each was parsed."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.on_the_loop: list[bool] = []
        self.source = Source(
            name="seen",
            path="/seen",
            summary="",
            about="",
            parsers={falcon.MEDIA_JSON: self._parse},
            body={falcon.MEDIA_JSON: {}},
        )

    def _parse(self, body: bytes, limit: int) -> Received:
        self.bodies.append(body)
        self.on_the_loop.append(threading.current_thread() is threading.main_thread())
        return []


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def client(seen: Seen) -> testing.TestClient:
    resource = EventsResource(
        seen.source,
        gate=Gate(Scrubber(key_salt="", anonymize_ip=False)),
        committer=GroupCommitter(EventQueue(connect(NOBODY)), max_events=1, max_bytes=1),
        tokens=Tokens(),
        limits=Limits(LIMIT, 10),
        metrics=IngestMetrics(Backlog(1, 1)),
        large_bodies=ThreadPoolExecutor(1),
    )
    app = falcon.asgi.App()
    app.add_route("/seen", resource)
    return testing.TestClient(app)


PLAIN, NOISE = b"{}" * 1_000_000, os.urandom(200_000)


@pytest.mark.parametrize(
    ("body", "unpacked", "encoding", "on_the_loop"),
    [
        (b"{}", b"{}", None, True),
        (PLAIN[:500_000], PLAIN[:500_000], None, True),
        (PLAIN, PLAIN, None, False),
        (gzip.compress(b"{}"), b"{}", "gzip", True),
        (gzip.compress(NOISE), NOISE, "gzip", False),
    ],
    ids=["small", "at the line", "large", "small, gzip", "large, gzip"],
)
def test_only_a_large_body_leaves_the_event_loop(
    client: testing.TestClient,
    seen: Seen,
    body: bytes,
    unpacked: bytes,
    encoding: str | None,
    on_the_loop: bool,
) -> None:
    headers = {"Content-Type": falcon.MEDIA_JSON, "Content-Encoding": encoding or "identity"}
    answer = client.simulate_post("/seen", body=body, headers=headers)

    assert answer.status_code == 202
    assert seen.bodies == [unpacked]
    assert seen.on_the_loop == [on_the_loop]


def test_a_large_body_that_is_refused_says_so(client: testing.TestClient) -> None:
    headers = {"Content-Type": falcon.MEDIA_JSON, "Content-Encoding": "gzip"}
    damaged = client.simulate_post("/seen", body=NOISE, headers=headers)
    bomb = gzip.compress(NOISE + bytes(LIMIT))
    too_large = client.simulate_post("/seen", body=bomb, headers=headers)

    assert (damaged.status_code, too_large.status_code) == (400, 413)
