"""The benchmarks run, with far too little to say anything, and write what they are to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bench.__main__ import BENCHES, main, run
from bench.effort import Effort
from bench.load import Connection
from bench.report import Goal, goals_table, write_section
from bench.samples import bodies

SMOKE = Effort(
    rounds=1,
    seconds=0.2,
    drain_rounds=1,
    drain_events=36_000,
    paced_seconds=0.5,
    import_lines=5_000,
)


@pytest.mark.long
@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_measures_and_writes_its_goals(name: str, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"

    run([name], SMOKE, page)

    text = page.read_text()
    section = text.partition(f"<!-- bench:{name} -->")[2].partition(f"<!-- /bench:{name} -->")[0]
    assert "| goal | figure | bound | verdict |" in section
    assert "CPU" in text.partition("<!-- /bench:machine -->")[0]


def test_an_unknown_bench_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "ingest,speed"])

    assert "no such bench: speed" in capsys.readouterr().err


def test_writing_a_section_again_leaves_all_else_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section("one", "first", page=page)
    page.write_text(page.read_text() + "\nBy hand.\n")
    write_section("two", "second", page=page)
    before = page.read_text()

    write_section("one", r"changed \1", page=page)

    assert page.read_text() == before.replace("first", r"changed \1")
    assert before.index("first") < before.index("By hand.") < before.index("second")


@pytest.mark.parametrize(
    ("figure", "at_least", "verdict"),
    [(0.5, True, "met"), (0.49, True, "missed"), (0.5, False, "met"), (0.51, False, "missed")],
)
def test_a_goal_is_judged_by_its_bound(figure: float, at_least: bool, verdict: str) -> None:
    goal = Goal(name="ratio", figure=figure, bound=0.5, at_least=at_least)

    assert verdict in goals_table([goal])


def test_events_have_the_size_that_the_page_says() -> None:
    sizes = [len(body) for body in bodies(500, 1)]

    assert min(sizes) >= 870
    assert max(sizes) <= 1_000


def test_an_answer_in_pieces_is_one_answer() -> None:
    answers: list[tuple[int, bytes]] = []
    connection = Connection(lambda _, status, body: answers.append((status, body)))
    transport: Any = Mock()
    connection.connection_made(transport)
    answer = b'HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\nX: y\r\n\r\n{"accepted":1}'

    for byte in answer:
        connection.data_received(bytes([byte]))

    assert answers == [(202, b'{"accepted":1}')]
