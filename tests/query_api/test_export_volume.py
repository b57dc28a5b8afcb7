"""Exports of many events: memory that does not grow, and files that read back as what was asked.

`EXPORT_EVENTS=5000000 make test-long ARGS=tests/query_api/test_export_volume.py` for as many.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import pytest

from bench.stores.traffic import DAYS, END
from shared.events import Event
from tests.harness import ROOT
from tests.query_api.server import QueryServer

EVENTS = int(os.environ.get("EXPORT_EVENTS", "250000"))
START = END - DAYS * 86_400 + 1
FIFTH = START + (END - START) // 5
MOST_MB = 250
GROWTH_MB = {"jsonl_path": 16, "sled_path": 80}
"""For SQLite 64 MB more: its page cache fills in the course of the first 200,000 events."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads a process's memory from /proc"),
]


class Totals(NamedTuple):
    """What an export adds up to; the cost is a float or an approximation of one."""

    events: int
    succeeded: int
    input_tokens: int
    output_tokens: int
    cost: Any


@pytest.fixture(scope="module", params=GROWTH_MB)
def setting(request: pytest.FixtureRequest) -> str:
    """The setting that chooses the store."""
    return str(request.param)


@pytest.fixture(scope="module")
def loaded(setting: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    """The service on a store of EVENTS events."""
    folder = tmp_path_factory.mktemp(setting)
    path = str(folder / "store.jsonl")
    command = [sys.executable, "-m", "bench.stores.measure", "load"]
    settings = json.dumps({setting: path})
    subprocess.run([*command, settings, str(EVENTS)], cwd=ROOT, check=True, capture_output=True)
    with QueryServer(folder, _without_pandas(folder), **{setting.upper(): path}) as query:
        query.http.timeout = 3_600
        yield query


def _without_pandas(folder: Path) -> dict[str, str]:
    """An environment for the service as it is where no test's packages are installed.

    pyarrow imports pandas where it finds it, 45 MB, and only chdb brings it.
    """
    absent = folder / "absent" / "pandas"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ImportError")
    return {"PYTHONPATH": f"{absent.parent}{os.pathsep}{ROOT}"}


def _status(query: QueryServer) -> Path:
    pid = query.service.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Path(f"/proc/{child}")


def _peak_mb(query: QueryServer) -> float:
    lines = (_status(query) / "status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1_024


def _export(query: QueryServer, path: Path, end: int, name: str) -> float:
    """Write an export to `path`; returns the service's peak of memory meanwhile, in MB."""
    (_status(query) / "clear_refs").write_text("5")
    params: dict[str, Any] = {"start": START, "end": end, "format": name}
    plain = {"Accept-Encoding": "identity"}
    with (
        query.http.stream("GET", "/analytics/export", params=params, headers=plain) as answer,
        open(path, "wb") as file,
    ):
        assert answer.status_code == 200
        for part in answer.iter_raw():
            file.write(part)
    return _peak_mb(query)


def _expected(query: QueryServer, end: int) -> Totals:
    figures = query.get("aggregate", start=START, end=end)
    names = "total_requests successful_requests total_input_tokens total_output_tokens total_cost"
    totals = Totals._make(figures[name] for name in names.split())
    return totals._replace(cost=pytest.approx(totals.cost, rel=1e-9))


def _of_events(events: Iterator[Event]) -> Totals:
    count = succeeded = tokens_in = tokens_out = 0
    cost = 0.0
    for event in events:
        count += 1
        succeeded += bool(event.response and event.response.succeeded)
        tokens_in += event.input_tokens or 0
        tokens_out += event.output_tokens or 0
        cost += event.total_cost or 0.0
    return Totals(count, succeeded, tokens_in, tokens_out, cost)


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from file


def _document_events(path: Path) -> Iterator[bytes]:
    """The events of a JSON document that is too large to read at once.

    Inside a text a quote is escaped, so the seam between two events is nowhere else.
    """
    head, seam, tail = b'{"events":[', b'},{"id":', b'}],"count":'
    with open(path, "rb") as file:
        assert file.read(len(head)) == head
        rest = b""
        while part := file.read(1 << 20):
            *whole, rest = (rest + part).split(seam)
            for event in whole:
                yield _mended(event, seam)
        event, _, end = rest.rpartition(tail)
        yield _mended(event, seam)
        json.loads(b'{"count":' + end)


def _mended(event: bytes, seam: bytes) -> bytes:
    start = b"" if event.startswith(b'{"id":') else seam[2:]
    return start + event + b"}"


def _decoded(lines: Iterator[bytes]) -> Iterator[Event]:
    return map(msgspec.json.Decoder(Event).decode, lines)


def _of_csv(path: Path) -> Totals:
    count = succeeded = tokens_in = tokens_out = 0
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, strict=True):
            count += 1
            succeeded += row["success"] == "true"
            tokens_in += int(row["input_tokens"] or 0)
            tokens_out += int(row["output_tokens"] or 0)
    return Totals(count, succeeded, tokens_in, tokens_out, 0.0)


_SUMS = "count(*), count(*) FILTER (success), sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT"


def _by_duckdb(reader: str, path: Path, cost: str = "0.0") -> Totals:
    config: dict[str, Any] = {"memory_limit": "1GB", "temp_directory": str(path.parent)}
    with closing(duckdb.connect(config=config)) as session:
        row = session.execute(f"SELECT {_SUMS}, {cost} FROM {reader}(?)", [str(path)]).fetchone()
    assert row is not None
    return Totals(*row)


def _by_polars(path: Path) -> Totals:
    import polars as pl

    tokens = ("input_tokens", "output_tokens")
    columns = [
        pl.len().alias("events"),
        pl.col("success").sum(),
        *(pl.col(name).sum() for name in tokens),
        pl.col("total_cost").sum(),
    ]
    return Totals(*pl.scan_parquet(path).select(columns).collect().row(0))


READERS: dict[str, list[Callable[[Path], Totals]]] = {
    "json": [lambda path: _of_events(_decoded(_document_events(path)))],
    "ndjson": [lambda path: _of_events(_decoded(_lines(path)))],
    "csv": [_of_csv, lambda path: _by_duckdb("read_csv", path)],
    "parquet": [
        lambda path: _by_duckdb("read_parquet", path, "sum(total_cost)"),
        _by_polars,
    ],
}


@pytest.mark.parametrize("name", READERS)
def test_memory_does_not_grow_and_the_file_adds_up_to_the_aggregate(
    loaded: QueryServer, setting: str, tmp_path: Path, name: str
) -> None:
    part, whole = tmp_path / f"part.{name}", tmp_path / f"whole.{name}"
    small = _export(loaded, part, FIFTH, name)
    large = _export(loaded, whole, END, name)
    print(f"{EVENTS} events as {name}: {small:.0f} MB for a fifth, {large:.0f} MB for all")

    assert large <= MOST_MB
    assert large - small <= GROWTH_MB[setting]
    for path, end in ((part, FIFTH), (whole, END)):
        expected = _expected(loaded, end)
        if name == "csv":
            expected = expected._replace(cost=0.0)
        for read in READERS[name]:
            assert read(path) == expected
        path.unlink()
