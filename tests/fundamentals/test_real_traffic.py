"""Two production services' traffic of one hour, through the whole pipeline, a crash included.

Any store runs the same scenario: it is a set of settings here, and nothing else.
"""

from functools import partial
from pathlib import Path

import msgspec
import pytest

from tests.backends import Open, clickhouse, jsonl, mysql, postgresql, redis, sqlite
from tests.harness import OneProcess, Pipeline
from tests.traces import (
    REQUESTS,
    replay_with_a_crash,
    replay_with_a_kill_of_all,
    require_traces,
)

long = partial(pytest.param, marks=pytest.mark.long)


# `make test` takes the default store; the others are tried the same way by `make test-long`.
@pytest.mark.parametrize("store", [jsonl, long(redis), long(postgresql), long(sqlite), long(mysql)])
def test_the_figures_are_exact_through_a_crash_and_a_second_delivery(
    store: Open, folder: Path
) -> None:
    require_traces()

    with store(folder) as backend, Pipeline(folder, workers=3, **backend.settings) as pipeline:
        replay_with_a_crash(pipeline)

    if store is jsonl:
        lines = (folder / "store.jsonl").read_bytes().splitlines()
        ids = {msgspec.json.decode(line)["id"] for line in lines}
        assert len(lines) == len(ids) == REQUESTS


@pytest.mark.long
def test_the_figures_are_exact_where_one_process_holds_the_store_and_is_killed(
    folder: Path,
) -> None:
    require_traces()

    with (
        clickhouse(folder) as backend,
        OneProcess(folder, workers=1, **backend.settings) as pipeline,
    ):
        replay_with_a_kill_of_all(pipeline)
