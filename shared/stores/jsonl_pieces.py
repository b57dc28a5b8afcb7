"""An aggregate in pieces: whole days from the segments' summaries, the rest from the rows.

So it is exact to the second, and a long range costs its days and not its events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shared.stores.base import Selection
from shared.stores.jsonl_selection import FURTHEST, Chosen, condition_of
from shared.stores.jsonl_summary import ADDED, DAY, FIGURES, KEY, KNOWN
from shared.stores.jsonl_view import Part, Snapshot


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, as two queries with the same parameters.

    `figures` has a row for each model, endpoint and backend: these, then FIGURES. `latencies` has
    one for each latency bucket: it, how many requests, the longest duration in ms.
    """

    figures: str
    latencies: str
    parameters: dict[str, object]


def pieces_of(snapshot: Snapshot, selection: Selection) -> Iterator[Piece]:
    """Pieces that together are the selection."""
    days = _whole_days(selection)
    if days is None:
        yield _of_rows(snapshot.parts_of(selection.start, selection.end), selection)
        return
    first, last = days.start * DAY, (days.end + 1) * DAY
    for edge in (replace(selection, end=first - 1), replace(selection, start=last)):
        parts = snapshot.parts_of(edge.start, edge.end)
        if parts and edge.start <= edge.end:
            yield _of_rows(parts, edge)
    inside = replace(selection, start=first, end=last - 1)
    parts = snapshot.parts_of(inside.start, inside.end)
    if plain := [part for part in parts if part.summary is None]:
        yield _of_rows(plain, inside)
    if summaries := [part.summary for part in parts if part.summary is not None]:
        yield _of_days(summaries, days)


def _whole_days(selection: Selection) -> Selection | None:
    """The days, counted from 1970, that lie wholly in the selection; None where there are none.

    The day 0 is none of them: a time before 1970 is cut towards it.
    """
    if not selection.filters.keys() <= set(KNOWN):
        return None
    first = max(1, -(-selection.start // DAY))
    last = (min(selection.end, FURTHEST) + 1) // DAY - 1
    return replace(selection, start=first, end=last) if first <= last else None


def _of_rows(parts: Sequence[Part], selection: Selection) -> Piece:
    chosen = Chosen(parts, selection)
    return Piece(
        f"SELECT {KEY}, {FIGURES} {chosen.sql} GROUP BY ALL",
        f"SELECT latency_bucket, count(*), max(duration_ms) {chosen.sql} GROUP BY ALL",
        chosen.parameters,
    )


def _of_days(summaries: Sequence[str], days: Selection) -> Piece:
    condition, parameters = condition_of(days, time="day")
    rows = f"FROM read_parquet($files) WHERE {condition} AND latency_bucket"
    return Piece(
        f"SELECT {KEY}, {ADDED} {rows} IS NULL GROUP BY ALL",
        f"SELECT latency_bucket, sum(requests)::BIGINT, max(longest) {rows} IS NOT NULL"
        " GROUP BY ALL",
        parameters | {"files": list(summaries)},
    )
