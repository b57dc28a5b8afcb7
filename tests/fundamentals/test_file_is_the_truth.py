"""The JSONL file is the truth: whatever is done to it under the running services, they follow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from tests.harness import Pipeline, event

pytestmark = pytest.mark.long

RANGE = {"start": 1_700_000_000, "end": 1_700_000_999}


def _index(path: Path) -> None:
    """Index all of the file, as a worker does once there is enough of it."""
    store = JsonlStore(path, index=IndexPolicy(settle=1))
    while store.maintain():
        pass
    store.close()


def _cut_after_two_lines(path: Path) -> None:
    os.truncate(path, sum(map(len, path.read_bytes().splitlines(keepends=True)[:2])))


def _put_another_in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[3:]))
    other.replace(path)


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "not indexed"])
@pytest.mark.parametrize(
    ("change", "left"),
    [
        (Path.unlink, []),
        (lambda path: os.truncate(path, 0), []),
        (_cut_after_two_lines, [0, 1]),
        (_put_another_in_its_place, [3, 4]),
        (lambda path: shutil.rmtree(f"{path}.index", ignore_errors=True), [0, 1, 2, 3, 4]),
    ],
    ids=["removed", "emptied", "truncated", "replaced", "index removed"],
)
def test_the_next_answer_and_the_next_append_are_right(
    pipeline: Pipeline, change: Callable[[Path], Any], left: list[int], indexed: bool
) -> None:
    path = pipeline.folder / "store.jsonl"
    path.unlink(missing_ok=True)
    assert pipeline.total() == 0
    pipeline.post([event(n) for n in range(5)])
    pipeline.wait_for_total(5)
    if indexed:
        _index(path)
        assert _ids(pipeline) == [0, 1, 2, 3, 4]

    change(path)

    assert _ids(pipeline) == left
    assert pipeline.get("aggregate", **RANGE)["total_requests"] == len(left)
    pipeline.post([event(n) for n in range(6)])
    pipeline.wait_for_total(6)
    assert _ids(pipeline) == [0, 1, 2, 3, 4, 5]


def _ids(pipeline: Pipeline) -> list[int]:
    page = pipeline.get("events", **RANGE, order="asc")
    return [int(found["id"].removeprefix("event-")) for found in page["events"]]
