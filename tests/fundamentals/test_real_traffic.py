"""Two production services' traffic of one hour, through the whole pipeline, a crash included.

Any store runs the same scenario: it is a set of settings here, and nothing else.
"""

from pathlib import Path

import msgspec
import pytest

from tests.harness import Pipeline
from tests.traces import REQUESTS, replay_with_a_crash, require_traces

STORES = {
    "jsonl": {"JSONL_PATH": "{folder}/store.jsonl"},
    "sqlite": {"SLED_PATH": "{folder}/store.db"},
}


@pytest.mark.parametrize("store", STORES)
def test_the_figures_are_exact_through_a_crash_and_a_second_delivery(
    store: str, folder: Path
) -> None:
    require_traces()
    settings = {name: value.format(folder=folder) for name, value in STORES[store].items()}

    with Pipeline(folder, workers=3, **settings) as pipeline:
        replay_with_a_crash(pipeline)

    if store == "jsonl":
        lines = (folder / "store.jsonl").read_bytes().splitlines()
        ids = {msgspec.json.decode(line)["id"] for line in lines}
        assert len(lines) == len(ids) == REQUESTS
