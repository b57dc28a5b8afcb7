"""`GET /analytics/export`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import duckdb
import httpx
import msgspec
import pytest

from query_api.columns import COLUMNS
from query_api.formats import FORMATS, gzipped
from shared.events import Event
from shared.stores.base import Selection
from shared.stores.jsonl_file import encode_line
from tests.query_api.server import QueryServer
from tests.stores.samples import extreme_events, make_event, varied_events

AT = 1_767_225_600
RANGE = {"start": AT, "end": AT + 9_999}

DEFAULT_COLUMNS = [
    "id",
    "timestamp",
    "endpoint",
    "method",
    "model",
    "stream",
    "status_code",
    "success",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "backend",
    "upstream_mode",
]


def _rows(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text, newline=""), strict=True))


def _raw(query: QueryServer, **headers: str) -> tuple[httpx.Headers, bytes]:
    """Headers and body of an export as they came, not decompressed."""
    with query.http.stream("GET", "/analytics/export", params=RANGE, headers=headers) as answer:
        return answer.headers, b"".join(answer.iter_raw())


def test_json_is_the_default_and_one_document(query: QueryServer) -> None:
    events = varied_events(30, start=AT, end=AT + 99)
    query.store.append([*events, make_event("outside", AT - 1)])
    answer = query.ask("export", **RANGE)
    body = answer.json()

    assert answer.headers["content-type"] == "application/json"
    assert body.keys() == {"events", "count", "period"}
    assert {e["id"]: e for e in body["events"]} == {e.id: msgspec.to_builtins(e) for e in events}
    assert body["count"] == 30
    assert body["period"] == RANGE


def test_an_empty_range_exports_an_empty_document(query: QueryServer) -> None:
    assert query.get("export", **RANGE) == {"events": [], "count": 0, "period": RANGE}
    assert query.ask("export", **RANGE, format="ndjson").content == b""
    assert _rows(query.ask("export", **RANGE, format="csv")) == [DEFAULT_COLUMNS]


def test_ndjson_is_one_event_a_line(query: QueryServer) -> None:
    events = extreme_events()
    query.store.append(events)
    answer = query.ask("export", start=0, end=2_000_000_000, format="ndjson")

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert sorted(answer.content.splitlines(keepends=True)) == sorted(map(encode_line, events))


@pytest.mark.parametrize("name", ["json", "csv", "ndjson", "parquet"])
def test_the_file_is_named_after_its_range(query: QueryServer, name: str) -> None:
    answer = query.ask("export", **RANGE, format=name)
    expected = f'attachment; filename="analytics_{AT}_to_{AT + 9_999}.{name}"'

    assert answer.headers["content-disposition"] == expected


def test_csv_has_its_default_columns_in_order(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, stream=True, duration_ms=12.5)])
    query.store.append([make_event("b", AT, model=None, status=None, tokens=None)])
    answer = query.ask("export", **RANGE, format="csv")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = _rows(answer)
    assert header == DEFAULT_COLUMNS
    assert [",".join(row) for row in rows] == [
        f"a,{AT},/v1/chat/completions,POST,gpt-4o,true,200,true,12.5,10,5,openai,chat",
        f"b,{AT},/v1/chat/completions,POST,,false,,,100.0,,,openai,chat",
    ]


def test_csv_takes_the_named_columns_in_their_order(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, cost=0.25, api_key_id="key_1")])
    answer = query.ask("export", **RANGE, format="csv", columns="total_cost, id,api_key_id")

    assert _rows(answer) == [["total_cost", "id", "api_key_id"], ["0.25", "a", "key_1"]]


def _table(answer: httpx.Response) -> duckdb.DuckDBPyRelation:
    assert answer.status_code == 200, answer.text
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(answer.content)
        file.flush()
        duckdb.execute("CREATE OR REPLACE TABLE exported AS FROM read_parquet(?)", [file.name])
    return duckdb.table("exported")


def test_parquet_has_every_column_in_its_type(query: QueryServer) -> None:
    events = [*varied_events(50, start=AT, end=AT + 99), make_event("null", AT, status=None)]
    events[0].routing.mcp_servers = ["a b", "=c"]
    query.store.append(events)
    answer = query.ask("export", **RANGE, format="parquet")
    table = _table(answer)
    types = dict(zip(table.columns, map(str, table.types), strict=True))

    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert table.columns == list(COLUMNS)
    assert types["timestamp"] == "TIMESTAMP WITH TIME ZONE"
    assert types["mcp_servers"] == "VARCHAR[]"
    assert (types["status_code"], types["success"]) == ("BIGINT", "BOOLEAN")
    assert (types["total_cost"], types["error_message"]) == ("DOUBLE", "VARCHAR")
    rows = table.project("* EXCLUDE (timestamp), epoch(timestamp)::BIGINT AS timestamp")
    found = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
    expected = [{name: column.get(event) for name, column in COLUMNS.items()} for event in events]
    assert sorted(found, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])


def test_parquet_takes_the_named_columns_in_their_order(query: QueryServer) -> None:
    query.store.append([make_event("a", AT, cost=0.25)])
    answer = query.ask("export", **RANGE, format="parquet", columns="total_cost,id")

    assert _table(answer).columns == ["total_cost", "id"]
    assert _table(answer).fetchall() == [(0.25, "a")]


def test_parquet_of_an_empty_range_has_its_columns_and_no_row(query: QueryServer) -> None:
    table = _table(query.ask("export", **RANGE, format="parquet"))

    assert table.columns == list(COLUMNS)
    assert table.fetchall() == []


def test_all_columns_are_every_field_of_an_event(query: QueryServer) -> None:
    query.store.append([make_event("a", AT)])
    header, row = _rows(query.ask("export", **RANGE, format="csv", columns="all"))

    assert header == list(COLUMNS)
    assert header[: len(DEFAULT_COLUMNS)] == DEFAULT_COLUMNS
    assert len(row) == len(header) == len(set(header)) == 39


def test_csv_is_quoted_as_rfc_4180_says(query: QueryServer) -> None:
    odd = 'say "hi", then\r\nleave\nnow; ä 😀'
    query.store.append([make_event("a", AT, model=odd)])
    answer = query.ask("export", **RANGE, format="csv", columns="id,model")

    assert answer.content == ('id,model\r\na,"' + odd.replace('"', '""') + '"\r\n').encode()
    assert _rows(answer)[1] == ["a", odd]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_cell_that_a_spreadsheet_would_run_is_disarmed(query: QueryServer, start: str) -> None:
    query.store.append([make_event("a", AT, model=f"{start}HYPERLINK(1)", duration_ms=5)])
    rows = _rows(query.ask("export", **RANGE, format="csv", columns="model,endpoint,duration_ms"))

    assert rows[1] == [f"'{start}HYPERLINK(1)", "/v1/chat/completions", "5.0"]


def test_servers_in_a_cell_are_disarmed_as_well(query: QueryServer) -> None:
    event = make_event("a", AT)
    event.routing.mcp_servers = ["=cmd()", "b"]
    query.store.append([event])

    rows = _rows(query.ask("export", **RANGE, format="csv", columns="mcp_servers"))
    assert rows[1] == ["'=cmd() b"]


@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip;q=0.5", "GZIP", "*"])
def test_an_export_is_gzipped_where_that_is_accepted(query: QueryServer, accepted: str) -> None:
    query.store.append(varied_events(40, start=AT, end=AT + 99))
    headers, packed = _raw(query, **{"Accept-Encoding": accepted})
    plain_headers, plain = _raw(query, **{"Accept-Encoding": "identity"})

    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == plain_headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in plain_headers
    assert len(packed) < len(plain)
    assert gzip.decompress(packed) == plain


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br", "gzip; q=0.0"])
def test_an_export_is_not_gzipped_where_that_is_not_accepted(
    query: QueryServer, accepted: str
) -> None:
    headers, plain = _raw(query, **{"Accept-Encoding": accepted})

    assert "content-encoding" not in headers
    assert json.loads(plain)["count"] == 0


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_not_read_to_its_end_lets_the_store_go(name: str, packed: bool) -> None:
    let_go = []
    chunk = [make_event("a", AT)] * 5_000

    def chunks() -> Iterator[list[Event]]:
        try:
            for _ in range(1_000):
                yield chunk
        finally:
            let_go.append(True)

    found = FORMATS[name]
    begun = chunks()
    parts = found.write(chain([next(begun)], begun), Selection(start=AT, end=AT), found.columns)
    if packed:
        parts = gzipped(parts)
    del begun
    next(parts)
    assert not let_go
    parts.close()  # type: ignore[attr-defined]
    assert let_go


@pytest.mark.parametrize(
    "wrong",
    [
        "format=xml",
        "format=JSON",
        "format=",
        "format=csv&format=json",
        "columns=id,colour",
        "columns=",
        "columns=id,,model",
        "columns=id&columns=model",
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(query: QueryServer, wrong: str) -> None:
    assert query.refusal("export", wrong) == (400, wrong.partition("=")[0])


def _peak_of_child(pid: int) -> int:
    """The most memory that the one child of a process has held, in bytes."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{child}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1_024


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's memory from /proc")
def test_an_export_is_streamed_and_its_memory_does_not_grow(tmp_path: Path) -> None:
    line = encode_line(make_event("00000000", AT))
    with QueryServer(tmp_path) as query:

        def peak_after(events: int) -> int:
            with open(query.path, "wb") as file:
                for n in range(events):
                    file.write(line.replace(b"00000000", b"%08d" % n))
            plain = {"Accept-Encoding": "identity"}
            with query.http.stream(
                "GET", "/analytics/export", params=RANGE, headers=plain
            ) as answer:
                assert answer.headers["transfer-encoding"] == "chunked"
                size = sum(map(len, answer.iter_raw()))
            assert size > len(line) * events
            return _peak_of_child(query.service.process.pid)

        small = peak_after(12_000)
        large = peak_after(100_000)
        assert large - small < len(line) * 100_000 // 4
        assert len(line) * 100_000 > 60_000_000


def test_the_default_range_of_an_export_is_a_day(query: QueryServer) -> None:
    now = int(time.time())
    query.store.append([make_event("a", now - 23 * 3_600), make_event("b", now - 25 * 3_600)])

    assert [event["id"] for event in query.get("export")["events"]] == ["a"]
