"""A browser for the whole session, and a pipeline whose traffic each module reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dashboard.driving import Dashboard, browser
from tests.dashboard.traffic import traffic
from tests.harness import Pipeline, batches

Open = Callable[..., Dashboard]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def board(chrome: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline with a month of traffic, about 4,000 events, that nothing else writes to."""
    with Pipeline(tmp_path_factory.mktemp("board")) as running:
        fill(running)
        yield running


def fill(pipeline: Pipeline, *, a_day: int = 400) -> None:
    count = 0
    for batch in batches(traffic(int(time.time()), a_day=a_day), 1_000):
        assert pipeline.post(batch).status_code == 202
        count += len(batch)
    pipeline.wait_for_total(count)


@pytest.fixture
def dashboard(chrome: Any, board: Pipeline) -> Iterator[Dashboard]:
    """The page on 24 hours of `board`, standing still."""
    with Dashboard(chrome, board.query_url) as opened:
        yield opened.open()
