"""Hostile requests as bytes on a connection, and what a server may answer to them."""

from __future__ import annotations

import gzip
import http.client
import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import zstandard
from hypothesis import strategies as st

from tests.ingest import test_fuzz as bodies

TIMEOUT = 20.0
INGEST_PATHS = [
    *("/analytics/events", "/sources/litellm", "/v1/traces"),
    *("/healthz/live", "/healthz/ready", "/metrics", "/openapi.json", "/docs"),
]
QUERY_PATHS = [
    *(f"/analytics/{name}" for name in ("stats", "events", "aggregate", "export", "timeseries")),
    *("/analytics/top", "/static/main.js", "/static/x", "/docs"),
    *(f"/analytics/{name}" for name in ("pipeline", "dead-letters", "dead-letters/replay")),
    *("/analytics/clear", "/healthz/live", "/healthz/ready", "/metrics", "/openapi.json", "/"),
]
PARAMETERS = [
    *("start", "end", "limit", "order", "cursor", "format", "columns", "interval", "group_by"),
    *(
        "tz",
        "by",
        "sort",
        "metric",
        "model",
        "endpoint",
        "backend",
        "api_key_id",
        "status_code",
        "success",
    ),
    *("upstream_mode", "stream", "x", "", "start[]", "__proto__"),
]
VALUES = [
    *("", "0", "1", "-1", "1e999", "-1e999", "nan", "Infinity", "9" * 30, "1.5", "0x10", "١٢"),
    *("1700000000", "1700000000000000000", "2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59+23:59", "asc", "csv", "json", "ndjson", "parquet", "all", "id,model"),
    *("1m", "1d", "Europe/Rome", "../../etc/passwd", "Etc/../UTC", "UTC\0", "null", "true"),
    *("\0", "'", "' OR 1=1 --", "%", "%s%s%n", "{{7*7}}", "${jndi:ldap://x}", "<script>", "😀"),
    *("x" * 4_000, "W10", "WzAsMCwiYXNjIix7fSwwLCIiXQ", "e30=", "=====", "\ud800"),
]
TRICKS = [
    *("/../../etc/passwd", "/analytics/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//", "*"),
    *("/analytics//events", "/analytics/events/", "/analytics/events;x", "/analytics%2fevents"),
    *(
        "/%00",
        "/%ff%fe",
        "/\xff\xfe",
        "/" + "a" * 9_000,
        "/%",
        "/%zz",
        "http://evil/analytics/stats",
    ),
    *("/analytics/events?" + "a&" * 500, "/analytics/events#x", "\\..\\..", "/static/../app.py"),
    *("/static/%2e%2e/app.py", "/static/..%5capp.py", "", "?", "/analytics/stats\t"),
]
METHODS = [
    "GET",
    "GET",
    "POST",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
]
ODD_METHODS = ["get", "CONNECT", "PROPFIND", "X" * 300, "GE T", "G\xffT", ""]
TYPES = [
    *("application/json", "application/x-ndjson", "application/jsonl", "application/msgpack"),
    *(
        "application/x-protobuf",
        "application/x-msgpack",
        "application/json; charset=utf-16",
        "APPLICATION/JSON ;",
        "json",
    ),
    *("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "/"),
]
HEADERS = [
    *("Accept", "Accept-Encoding", "Authorization", "Origin", "X-Forwarded-For", "Range", "Cookie"),
    *("Connection", "Upgrade", "Expect", "X-Forwarded-Proto", "Forwarded", "If-None-Match", "Host"),
    *(
        "Access-Control-Request-Method",
        "Content-Language",
        "Trailer",
        "TE",
        "Via",
        "Proxy",
        "X-\x01",
    ),
]
HEADER_VALUES = [
    *(
        "",
        "*",
        "*/*;q=9",
        "gzip",
        "gzip;q=0, *;q=x",
        "Bearer",
        "Bearer \xff",
        "Bearer " + "x" * 3_000,
    ),
    *(
        "Basic x",
        "null",
        "http://evil",
        "::1",
        "1.2.3.4, " * 200,
        "bytes=0-",
        "bytes=9-1,-5",
        "close",
    ),
    *(
        "keep-alive, Upgrade",
        "h2c",
        "websocket",
        "100-continue",
        "200-ok",
        "a\0b",
        "a\x0bb",
        "\x80",
    ),
    *("https", 'for="_x";proto=ftp', "x=" * 500),
]
FRAMINGS = [
    *(
        ("Content-Length", value)
        for value in ("-1", "+5", "0x10", "5, 5", "٣", "9" * 40, "", "1e3")
    ),
    *(("Transfer-Encoding", value) for value in ("chunked", "chunked, chunked", "\x0bchunked")),
    *(
        ("Transfer-Encoding", value)
        for value in ("gzip, chunked", "identity", "x", "", "chunked;q=1")
    ),
]
GREETINGS = [
    b"HTTP/1.1",
    b"HTTP/1.1",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/9.9",
    b"HTTP/2.0",
    b"",
    b"HTCPCP/1.0",
]

_zstd = zstandard.ZstdCompressor()


def compressed(body: bytes, how: str) -> bytes:
    """A body compressed, damaged, cut short, or not what its encoding says."""
    if how == "gzip":
        return gzip.compress(body)
    if how == "zstd":
        return _zstd.compress(body)
    if how == "cut":
        return gzip.compress(body)[:-5]
    if how == "deflate":
        return zlib.compress(body)
    return body


@st.composite
def targets(draw: st.DrawFn, paths: list[str]) -> bytes:
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from(TRICKS)).encode("latin-1", "replace")
    path = draw(st.sampled_from(paths))
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(PARAMETERS), st.sampled_from(VALUES) | st.text(max_size=5)),
            max_size=4,
        )
    )
    query = "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in pairs)
    return f"{path}?{query}".encode() if pairs else path.encode()


LITELLM = ["model", "id", "startTime", "endTime", "response_cost", "usage", "metadata", "status"]
SPAN = ["traceId", "spanId", "name", "startTimeUnixNano", "endTimeUnixNano", "attributes", "status"]


def _records(names: list[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Objects of some format's own fields, with anything in them."""
    return st.lists(st.dictionaries(st.sampled_from(names), bodies.values), max_size=2)


def _traces(spans: list[dict[str, Any]]) -> bytes:
    return bodies.json_text({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})


contents = (
    st.lists(bodies.events, max_size=3).map(bodies.json_text)
    | st.lists(bodies.plausible, max_size=3).map(bodies.json_text)
    | st.lists(bodies.plausible, max_size=3).map(bodies.msgpack_bytes)
    | st.lists(bodies.json_pieces, max_size=10).map(b"".join)
    | st.lists(bodies.msgpack_pieces, max_size=8).map(b"".join)
    | _records(LITELLM).map(bodies.json_text)
    | _records(SPAN).map(_traces)
    | st.binary(max_size=60)
)


@st.composite
def requests(draw: st.DrawFn, paths: list[str]) -> tuple[bytes, bool]:
    """One request, and whether it is framed so oddly that a server may wait for more of it.

    Most are whole and well framed, so that they get past the parser.
    """
    method = draw(st.sampled_from(METHODS if draw(st.integers(0, 9)) else ODD_METHODS))
    encoding = draw(st.sampled_from(["", "", "", "gzip", "zstd", "cut", "deflate", "wrong"]))
    body = compressed(draw(contents), encoding) if method not in ("GET", "HEAD") else b""
    headers: list[tuple[str, str]] = [("Host", "x")]
    if body:
        headers.append(("Content-Type", draw(st.sampled_from(TYPES))))
    if encoding:
        headers.append(("Content-Encoding", "gzip" if encoding in ("cut", "wrong") else encoding))
    pair = st.tuples(st.sampled_from(HEADERS), st.sampled_from(HEADER_VALUES))
    headers += draw(st.lists(pair, max_size=2))
    odd = draw(st.integers(0, 11)) == 0
    if odd:
        headers.append(draw(st.sampled_from(FRAMINGS)))
    else:
        headers.append(("Content-Length", str(len(body))))
    version = draw(st.sampled_from(GREETINGS)) if draw(st.integers(0, 9)) == 0 else b"HTTP/1.1"
    return message(method, draw(targets(paths)), headers, body, version), odd


def message(
    method: str,
    target: bytes,
    headers: list[tuple[str, str]],
    body: bytes = b"",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    lines = [method.encode("latin-1") + b" " + target + b" " + version]
    lines += [f"{name}: ".encode("latin-1") + value.encode("utf-8") for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Answer:
    """What came back: status 0 where the connection was closed without a word."""

    status: int
    body: bytes = b""
    content_type: str = ""


def exchange(address: tuple[str, int], data: bytes, *, end: bool = False) -> Answer:
    """Send bytes on a connection of their own; the first answer to them.

    `end` closes our side after them, for a server that would wait for more.
    """
    with socket.create_connection(address, TIMEOUT) as connection:
        # The server may answer and close before it has read everything.
        with suppress(OSError):
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return read_answer(connection, data.partition(b" ")[0].decode("latin-1"))


def read_answer(connection: socket.socket, method: str = "POST") -> Answer:
    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        body = answer.read()
    except (http.client.HTTPException, ConnectionError):
        return Answer(0)
    finally:
        answer.close()
    return Answer(answer.status, body, answer.headers.get("Content-Type", ""))


def is_allowed(answer: Answer, sent: bytes) -> bool:
    """No 5xx but a 503 of our own, and 501 to a transfer coding that nobody knows (RFC 9112)."""
    if answer.status == 503:
        return b'"error"' in answer.body
    if answer.status == 501:
        return b"Transfer-Encoding" in sent
    return answer.status < 500


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def known_bodies() -> dict[str, tuple[str, bytes]]:
    """Well-known attacks on parsers: a name to a Content-Encoding and a body."""
    plain: dict[str, bytes] = {
        "deep arrays": nested(1_000_000),
        "deep objects": b'{"request":' * 100_000 + b"1" + b"}" * 100_000,
        "deep unknown field": b'[{"request":{"endpoint":"/"},"x":' + nested(500_000) + b"}]",
        "a number too large": b'[{"request":{"endpoint":"/"},"performance":{"duration_ms":1e999}}]',
        "a million digits": b'[{"request":{"endpoint":"/"},"timestamp":' + b"9" * 10**6 + b"}]",
        "lone surrogates": rb'[{"id":"\ud800","request":{"endpoint":"\udfff\ud800"}}]',
        "duplicate keys": b'[{"id":"a","id":"b","request":{"endpoint":"/a","endpoint":"/b"}}]',
        "NUL bytes": b'[{"id":"\\u0000","request":{"endpoint":"\\u0000/"}}]\0\0',
        "many keys": b'[{"request":{"endpoint":"/"},' + _keys(200_000) + b"}]",
        "many events": b"[" + b"{}," * 400_000 + b"{}]",
        "a long string": b'[{"request":{"endpoint":"' + b"x" * 20_000_000 + b'"}}]',
    }
    bomb = gzip.compress(bytes(400_000_000), 9)
    return {
        **{name: ("identity", body) for name, body in plain.items()},
        **{f"{name}, gzip": ("gzip", gzip.compress(body, 1)) for name, body in plain.items()},
        "gzip bomb": ("gzip", bomb),
        "gzip bomb in a bomb": ("gzip", gzip.compress(bomb)),
        "many gzip members": ("gzip", gzip.compress(b"") * 50_000),
        "zstd bomb": ("zstd", _zstd.compress(bytes(400_000_000))),
        "zstd with a huge window": ("zstd", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(20)),
    }


def _keys(count: int) -> bytes:
    return b",".join(b'"k%d":%d' % (number, number) for number in range(count))
