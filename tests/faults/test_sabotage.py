"""The fault runs on a product that has been broken: each break must be noticed.

The services are the real ones; a `sitecustomize` of ours changes them as they start.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import jsonl
from tests.faults.run import WORKERS, Outcome, Plan, Run
from tests.harness import ROOT, Pipeline

PLAN = Plan(seed=1, rounds=3, seconds=3.0)

ANSWER_TOO_EARLY = """
from ingest.committer import GroupCommitter
import asyncio
commit = GroupCommitter.commit
async def commit_later(self, batches):
    asyncio.create_task(commit(self, batches)).add_done_callback(lambda task: task.exception())
GroupCommitter.commit = commit_later
"""
ACKNOWLEDGE_TOO_EARLY = """
import asyncio
from worker.consumer import Consumer, decode
async def process(self, entries):
    work = decode(entries, self._clock(), self._steps)
    await self._acknowledge(work)
    await asyncio.sleep(0.1)
    await self._writer.write(work)
Consumer._process = process
"""
DROP_SOME = """
import worker.consumer
decode = worker.consumer.decode
def decode_some(entries, now, steps):
    work = decode(entries, now, steps)
    work.items = [item for item in work.items if not item.event.id.endswith("77")]
    return work
worker.consumer.decode = decode_some
"""
FORGET_IDS = """
from shared.stores.jsonl_file import IdWindow
IdWindow.known = property(lambda self: frozenset())
"""


class Sabotaged(Pipeline):
    """A pipeline whose processes run `code` before anything else."""

    def __init__(self, folder: Path, code: str, **settings: str) -> None:
        super().__init__(folder, workers=WORKERS, **settings)
        (folder / "sabotage").mkdir()
        (folder / "sabotage" / "sitecustomize.py").write_text(code)

    @property
    def env(self) -> dict[str, str]:
        return {**super().env, "PYTHONPATH": f"{self.folder / 'sabotage'}:{ROOT}"}


def run_broken(folder: Path, code: str) -> Outcome:
    with jsonl(folder) as backend, Sabotaged(folder, code, **backend.settings) as pipeline:
        return Run("jsonl", PLAN, pipeline, backend, print).run()


@pytest.mark.long
@pytest.mark.parametrize("code", [ANSWER_TOO_EARLY, ACKNOWLEDGE_TOO_EARLY, DROP_SOME])
def test_a_product_that_loses_events_is_found_out(folder: Path, code: str) -> None:
    outcome = run_broken(folder, code)

    assert outcome.lost > 0
    assert not outcome.clean


@pytest.mark.long
def test_a_product_that_counts_twice_is_found_out(folder: Path) -> None:
    outcome = run_broken(folder, FORGET_IDS)

    assert outcome.twice > 0
    assert not outcome.clean
