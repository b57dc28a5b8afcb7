"""Machines' clocks differ: a worker is judged by the broker's clock, whatever its own says."""

import time

import pytest

from shared.pipeline import WorkerState
from tests.worker.rig import Rig, eventually

pytestmark = pytest.mark.anyio

HOUR = 3_600.0
STALLED_SECONDS = 0.3


def judged(rig: Rig) -> WorkerState | None:
    return next(iter(rig.admin.state(stalled_seconds=STALLED_SECONDS).workers), None)


@pytest.fixture(autouse=True)
async def broker_that_runs_for_a_while(rig: Rig) -> None:
    """Before that nobody is called stalled."""

    async def uptime() -> bool:
        return int((await rig.redis.info("server"))["uptime_in_seconds"]) >= 1

    await eventually(uptime)


@pytest.mark.parametrize("off", [-HOUR, HOUR], ids=["behind", "ahead"])
async def test_a_worker_whose_clock_is_off_is_alive_while_it_makes_progress_and_not_after(
    rig: Rig, off: float
) -> None:
    rig.start(clock=lambda: time.time() + off)
    worker = await eventually(lambda: judged(rig), what="a worker")

    assert worker.alive
    assert worker.at == pytest.approx(time.time(), abs=10)
    rig.store.hang()
    await rig.add(range(5))
    await eventually(lambda: not _is_alive(rig), what="the hung worker noticed")
    rig.store.gate.set()
    await eventually(lambda: _is_alive(rig), what="progress")


async def test_a_worker_whose_clock_is_ahead_forgets_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.start("other")
    await eventually(lambda: judged(rig), what="a worker")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + HOUR)

    assert await rig.queue.forget_idle_consumers(600_000) == 0
    assert judged(rig) is not None


def _is_alive(rig: Rig) -> bool:
    worker = judged(rig)
    return worker is not None and worker.alive
