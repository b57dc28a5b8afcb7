"""An export whose client goes away, over a real socket."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.stores.jsonl_file import encode_line
from tests.harness import wait_until
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event

EVENTS = 120_000
AT = 1_767_225_600

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    line = encode_line(make_event("00000000", AT))
    with QueryServer(tmp_path_factory.mktemp("large")) as query:
        with open(query.path, "wb") as file:
            file.writelines(line.replace(b"00000000", b"%08d" % n) for n in range(EVENTS))
        yield query


def _child(query: QueryServer) -> Path:
    pid = query.service.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Path(f"/proc/{child}")


def _ticks(query: QueryServer) -> int:
    """Processor time that the service has taken so far."""
    fields = (_child(query) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _open_files(query: QueryServer) -> int:
    links = [os.readlink(link) for link in (_child(query) / "fd").iterdir()]
    return links.count(str(query.path))


def _ticks_once_quiet(query: QueryServer) -> int:
    """Processor time once the service has taken none for a quarter of a second."""
    seen = [-1]

    def quiet() -> bool:
        seen.append(_ticks(query))
        return len(seen) > 12 and seen[-1] - seen[-12] <= 1

    wait_until(quiet, within=20, what="the service at rest")
    return seen[-1]


def _request(query: QueryServer, wanted: str, coding: str) -> socket.socket:
    host, port = query.http.base_url.host, query.http.base_url.port
    connection = socket.create_connection((host, port), timeout=20)
    path = f"/analytics/export?start={AT}&end={AT}&format={wanted}"
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: {coding}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


@pytest.mark.parametrize(
    ("wanted", "coding"),
    [("json", "identity"), ("csv", "gzip"), ("ndjson", "identity"), ("parquet", "identity")],
)
def test_a_cut_connection_stops_the_work(large: QueryServer, wanted: str, coding: str) -> None:
    params: dict[str, str | int] = {"start": AT, "end": AT, "format": wanted}
    before = _ticks_once_quiet(large)
    headers = {"Accept-Encoding": coding}
    assert large.http.get("/analytics/export", params=params, headers=headers).is_success
    whole = _ticks_once_quiet(large) - before

    files, before = _open_files(large), _ticks(large)
    connection = _request(large, wanted, coding)
    assert connection.recv(4_096).startswith(b"HTTP/1.1 200 ")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

    assert _ticks_once_quiet(large) - before < whole * 0.7
    assert _open_files(large) == files
    assert large.get("stats")["total_events"] == EVENTS
