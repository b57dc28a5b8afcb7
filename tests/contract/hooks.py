"""What schemathesis is told of that no schema can say: formats of our own, and ranges in order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

import schemathesis
from hypothesis import strategies as st

from query_api.cursor import Cursor
from shared.events import Event, Request
from shared.stores.base import Selection

MOST_SECONDS = 4_000 * 60
"""A series of minutes may not be longer by much."""
NOW = int(datetime.now(UTC).timestamp())


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _cursor(seconds: int) -> str:
    event = Event("a", seconds, Request(endpoint="/x"))
    return Cursor.after(event, Selection(start=0, end=seconds), "desc").encode()


schemathesis.openapi.format("date-time", st.integers(NOW - 9_999_999, NOW).map(_moment))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(sorted(available_timezones())))
schemathesis.openapi.format("cursor", st.integers(0, NOW).map(_cursor))
schemathesis.openapi.format(
    "printable", st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
)


@schemathesis.hook  # type: ignore[untyped-decorator]
def map_case(context: Any, case: Any) -> Any:
    """Put what is meant to be good in order: a range that ends after it starts, and soon after."""
    good = case.meta is None or case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE
    if good and {"start", "end"} & (case.query or {}).keys():
        end = _seconds(case.query.get("end"), NOW)
        start = _seconds(case.query.get("start"), end)
        case.query |= {"start": max(0, end - (start % MOST_SECONDS)), "end": end}
    if good and isinstance(case.body, (dict, list)):
        _date(case.body)
    return case


def _date(value: Any) -> None:
    """Bring every time of an event into the past: its bound moves with the clock."""
    if isinstance(value, dict):
        for name in {"timestamp", "startTime"} & value.keys():
            if isinstance(value[name], (int, float)):
                value[name] = NOW - 1
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            _date(inner)


def _seconds(value: Any, default: int) -> int:
    if isinstance(value, str) and not value.isdigit():
        return int(datetime.fromisoformat(value).timestamp())
    return default if value is None else int(value)
