"""A selection of a snapshot's rows as SQL.

Values go in as parameters; the text is put together from constants alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.stores.base import Selection
from shared.stores.jsonl_view import Part

FURTHEST = 2**62


class Chosen:
    """The rows of a selection: a FROM and a WHERE clause, and their named parameters."""

    def __init__(self, parts: Sequence[Part], selection: Selection) -> None:
        files = [part.path for part in parts if part.path is not None]
        sources = ["SELECT * FROM read_parquet($files)"] if files else []
        if len(files) < len(parts) or not parts:
            sources.append("SELECT * FROM tail")
        condition, self.parameters = condition_of(selection)
        if files:
            self.parameters["files"] = files
        self.sql = f"FROM ({' UNION ALL '.join(sources)}) WHERE {condition}"


def condition_of(selection: Selection, *, time: str = "timestamp") -> tuple[str, dict[str, object]]:
    """The selection as a condition on rows with their `time`, and its named parameters."""
    conditions = [f"{time} BETWEEN $start AND $end"]
    parameters: dict[str, object] = {
        "start": max(selection.start, -FURTHEST),
        "end": min(selection.end, FURTHEST),
    }
    for name, values in selection.filters.items():
        wanted = {f"{name}_{n}": value for n, value in enumerate(values) if value is not None}
        parameters |= wanted
        among = ", ".join(f"${each}" for each in wanted)
        condition = f"{name} IN ({among})" if wanted else "false"
        conditions.append(f"({condition} OR {name} IS NULL)" if None in values else condition)
    return " AND ".join(conditions), parameters
