"""A CSV export opened by LibreOffice, as somebody who double-clicks it would."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import run, tool
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event, varied_events

AT = 1_767_225_600
UTF8_COMMAS = "CSV:44,34,76,1"
"""LibreOffice's import: separator, quote, encoding and first line, each by number."""

_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"

pytestmark = pytest.mark.long


def _opened(path: Path, folder: Path) -> ET.Element:
    """The sheet that LibreOffice makes of a CSV file."""
    office = tool("soffice", "libreoffice-calc")
    profile = f"-env:UserInstallation=file://{folder / 'profile'}"
    convert = ["--headless", f"--infilter={UTF8_COMMAS}", "--convert-to", "fods"]
    run(office, profile, *convert, "--outdir", str(folder), path)
    sheet = ET.parse(path.with_suffix(".fods")).find(f".//{_TABLE}table")
    assert sheet is not None
    return sheet


def _cells(row: ET.Element) -> Iterator[str | float | None]:
    for cell in row.iter(f"{_TABLE}table-cell"):
        value: str | float | None = None
        if cell.get(f"{_OFFICE}value-type") == "float":
            value = float(cell.get(f"{_OFFICE}value", ""))
        elif cell.get(f"{_OFFICE}value-type"):
            value = "\n".join("".join(line.itertext()) for line in cell.iter(f"{_TEXT}p"))
        yield from [value] * int(cell.get(f"{_TABLE}number-columns-repeated", 1))


def test_libreoffice_reads_every_row_and_runs_none(query: QueryServer, tmp_path: Path) -> None:
    odd = ["=1+1", "@SUM(1;2)", '+"x"', "-2+3", 'say "hi", you;\nbye', "ä 😀", "'=quoted"]
    events = varied_events(2_000, start=AT, end=AT + 99)
    events += [make_event(f"odd{n}", AT, model=text) for n, text in enumerate(odd)]
    query.store.append(events)
    columns = "id,model,input_tokens,duration_ms"
    answer = query.ask("export", start=AT, end=AT + 99, format="csv", columns=columns)
    path = tmp_path / "export.csv"
    path.write_bytes(answer.content)
    sheet = _opened(path, tmp_path)
    rows = [list(_cells(row))[:4] for row in sheet.iter(f"{_TABLE}table-row")]
    header, *found = [row for row in rows if row[0] is not None]

    assert header == columns.split(",")
    assert not [cell for cell in sheet.iter() if cell.get(f"{_TABLE}formula")]
    expected = list(csv.reader(io.StringIO(answer.text, newline="")))[1:]
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert len(found) == len(events)
    models = dict(zip((row[0] for row in found), (row[1] for row in found), strict=True))
    assert [models[f"odd{n}"] for n in range(len(odd))] == [
        "'=1+1",
        "'@SUM(1;2)",
        '\'+"x"',
        "'-2+3",
        'say "hi", you;\nbye',
        "ä 😀",
        "'=quoted",
    ]
    tokens = sum(row[2] for row in found if isinstance(row[2], float))
    assert tokens == sum(event.input_tokens or 0 for event in events)
