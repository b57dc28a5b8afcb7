"""ClickHouse's HTTP interface before the engine of chdb, in a process of its own.

There is no ClickHouse server in a wheel. The engine here is the real one; what stands in for the
server is what is below: statements and settings by URL, external tables, one query at a time in a
session, the summary of an insert. Where ROUTIIUM_TEST_CLICKHOUSE_URL names a server, that is used.

`python -m tests.stores.clickhouse_server <folder> <port>`
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.harness import Service, free_port, wait_until

REAL = "ROUTIIUM_TEST_CLICKHOUSE_URL"
_TRANSPORT = {
    "query",
    "database",
    "query_id",
    "session_id",
    "session_timeout",
    "wait_end_of_query",
    "default_format",
    "compress",
    "enable_http_compression",
    "client_protocol_version",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "role",
}
_SESSION_IS_LOCKED = 373
_code = re.compile(r"\bCode: (\d+)")
_target = re.compile(r"INSERT INTO (\S+)")


class Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: str, port: int) -> None:
        import chdb

        super().__init__(("127.0.0.1", port), Handler)
        self._folder = folder
        self._chdb: Any = chdb
        self._idle: list[Any] = [chdb.connect(folder)]  # type: ignore[no-untyped-call]
        self._sessions: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def session(self, name: str | None) -> Iterator[None]:
        with self._lock:
            if name in self._sessions:
                raise Refused(
                    _SESSION_IS_LOCKED, f"Session {name} is locked by a concurrent client"
                )
            if name is not None:
                self._sessions.add(name)
        try:
            yield
        finally:
            self._sessions.discard(name or "")

    @contextmanager
    def connection(self) -> Iterator[Any]:
        with self._lock:
            connection = self._idle.pop() if self._idle else self._chdb.connect(self._folder)
        try:
            yield connection
        finally:
            self._idle.append(connection)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            found, written = self._run(parameters, body)
        except Refused as error:
            self._refuse(error.code, str(error))
        except RuntimeError as error:
            code = _code.search(str(error))
            self._refuse(int(code.group(1)) if code else 1000, str(error))
        else:
            summary = {} if written is None else {"written_rows": str(written)}
            self._answer(200, found, {"X-ClickHouse-Summary": json.dumps(summary)})

    def _run(self, parameters: dict[str, str], body: bytes) -> tuple[bytes, int | None]:
        tables = self._external_tables(body)
        if not tables:
            parameters["query"] = parameters.get("query", "") + body.decode()
        with (
            ExitStack() as stack,
            self.server.session(parameters.get("session_id")),
            self.server.connection() as connection,
        ):
            for name, value in parameters.items():
                if name not in _TRANSPORT and not name.endswith(("_structure", "_format")):
                    connection.query(f"SET {name} = '{value}'", "TSV")
            for name, rows in tables.items():
                _load(connection, stack, name, rows, parameters)
            return _query(connection, parameters["query"])

    def _external_tables(self, body: bytes) -> dict[str, bytes]:
        kind = self.headers.get("Content-Type") or ""
        if not kind.startswith("multipart/form-data"):
            return {}
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)  # type: ignore[misc]
            for part in message.iter_parts()
        }

    def _refuse(self, code: int, message: str) -> None:
        self._answer(500, message.encode(), {"X-ClickHouse-Exception-Code": str(code)})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _load(
    connection: Any, stack: ExitStack, name: str, rows: bytes, parameters: dict[str, str]
) -> None:
    structure, kind = parameters[f"{name}_structure"], parameters[f"{name}_format"]
    connection.query(f"CREATE TEMPORARY TABLE {name} ({structure}) ENGINE = Memory", "TSV")
    stack.callback(connection.query, f"DROP TEMPORARY TABLE {name}", "TSV")
    with tempfile.NamedTemporaryFile() as file:
        file.write(rows)
        file.flush()
        connection.query(f"INSERT INTO {name} FROM INFILE '{file.name}' FORMAT {kind}", "TSV")


def _query(connection: Any, sql: str) -> tuple[bytes, int | None]:
    target = _target.match(sql)
    if target is None:
        return connection.query(sql, "TabSeparated").bytes() or b"", None
    before = _count(connection, target.group(1))
    connection.query(sql, "TabSeparated")
    return b"", _count(connection, target.group(1)) - before


def _count(connection: Any, table: str) -> int:
    return int(connection.query(f"SELECT count() FROM {table}", "TSV").bytes())


@contextmanager
def running_clickhouse(folder: Path, port: int | None = None) -> Iterator[Service]:
    """The process, listening on `port`; what it holds is in `folder`."""
    number = free_port() if port is None else port
    command = [sys.executable, "-m", "tests.stores.clickhouse_server", "data", str(number)]
    service = Service("clickhouse", command, {"PORT": str(number)}, folder)
    try:
        wait_until(lambda: _listens(service, number), within=30, what=f"logs in {folder}")
        yield service
    finally:
        service.kill()


def _listens(service: Service, port: int) -> bool:
    import httpx

    assert service.running, service.output()
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def clickhouse_url(folder: Path) -> Iterator[str]:
    """The URL of a server: the one that REAL names, or one of our own."""
    if real := os.environ.get(REAL):
        yield real
        return
    port = free_port()
    with running_clickhouse(folder, port):
        yield f"clickhouse://default:@127.0.0.1:{port}/analytics"


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).serve_forever()
