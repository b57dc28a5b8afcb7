"""The table of the fault runs keeps what was not run again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.faults.injury import How
from tests.faults.page import BEGIN, END, write_rows
from tests.faults.run import Outcome


def outcome(store: str, events: int) -> Outcome:
    faults: Counter[tuple[str, How]] = Counter(
        {("ingest", "kill"): 2, ("ingest", "kill child"): 1, ("worker", "stop"): 4}
    )
    return Outcome(
        store=store, seed=7, rounds=30, events=events, sending_seconds=2.0, faults=faults
    )


def test_a_run_replaces_its_stores_rows_and_keeps_the_others(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")

    write_rows([outcome("redis", 1_000)], page)
    write_rows([outcome("jsonl", 2_000), outcome("redis", 3_000)], page)
    write_rows([outcome("jsonl", 4_000)], page)

    lines = page.read_text().splitlines()
    assert lines[:2] == ["before", BEGIN]
    assert lines[-2:] == [END, "after"]
    jsonl, redis = lines[4:-2]
    expected = "| jsonl | 30 | ingest 3 | worker 4 | 4,000 | 2,000 | 0 | 0 | 0 | 0.0 s | 7 |"
    assert jsonl.startswith(expected)
    assert redis.startswith("| redis | 30 |")
    assert "3,000" in redis
