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
        f"{outcome.slowest_stop:.1f} s",
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
    """Put a row for each outcome into the table between the page's markers."""
    replace_rows(page, "faults", HEAD, [row(outcome) for outcome in outcomes], order=list(BACKENDS))


def replace_rows(
    page: Path,
    section: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    order: Sequence[str],
) -> None:
    """Put `rows` into a section's table; a row is known by its first cell, sorted by `order`."""
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, _, rest = page.read_text().partition(begin)
    old, _, after = rest.partition(end)
    kept = {cells[0]: cells for cells in _rows_in(old)}
    kept |= {cells[0]: list(cells) for cells in rows}
    known = sorted(kept, key=lambda name: order.index(name) if name in order else len(order))
    text = table(head, [kept[name] for name in known])
    page.write_text(f"{before}{begin}\n{text}{end}{after}")


def _rows_in(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines[2:]]
