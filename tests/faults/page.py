"""The table of docs/reliability.md: a row for each store, kept until that store is run again."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import cpu_model, table
from tests.backends import BACKENDS
from tests.faults.run import Outcome
from tests.harness import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
COLUMNS = ("kill -9", "orderly stops", "events", "events/s", "lost", "twice", "dead letters")
HEAD = ("store", "rounds", *COLUMNS, "slowest stop", "seed", "run")


def row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.store,
        str(outcome.rounds),
        _counts(outcome, "kill", "kill child"),
        _counts(outcome, "stop"),
        f"{outcome.events:,}",
        f"{outcome.rate:,.0f}",
        str(outcome.lost),
        str(outcome.twice),
        str(outcome.dead),
        f"{outcome.slowest_stop[0]:.1f} s",
        str(outcome.seed),
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} × {cpu_model()}",
    )


def _counts(outcome: Outcome, *hows: str) -> str:
    counts: dict[str, int] = {}
    for (target, how), count in outcome.faults.items():
        if how in hows:
            counts[target] = counts.get(target, 0) + count
    return ", ".join(f"{target} {counts[target]}" for target in sorted(counts))


def write_rows(outcomes: Sequence[Outcome], page: Path = PAGE) -> None:
    """Put a row for each outcome into the page's table, in the place of its store's old one."""
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {cells[0]: cells for cells in _rows_in(old)}
    rows |= {outcome.store: row(outcome) for outcome in outcomes}
    text = table(HEAD, [rows[store] for store in BACKENDS if store in rows])
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def _rows_in(markdown: str) -> list[tuple[str, ...]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [tuple(re.split(r"\s*\|\s*", line.strip("| "))) for line in lines[2:]]
