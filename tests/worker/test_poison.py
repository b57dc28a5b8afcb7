"""Bad data costs itself: neither the events beside it nor those behind it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from shared.stream import WRITING, pack
from tests.worker.rig import FAST, Rig, eventually, names, received

pytestmark = pytest.mark.anyio

SLICES = replace(FAST, slice_seconds=0.0, patience_every=60.0)
"""Each append of a batch that is taken apart is a slice of its own."""


async def test_only_the_first_refused_batch_in_a_while_is_waited_with(rig: Rig) -> None:
    rig.store.poison = set(names([1, 9]))
    rig.start(pace=replace(FAST, first_backoff=0.05))
    await rig.add(range(4))
    await eventually(rig.letters)
    assert rig.store.calls == [4, 4, 4, 4, 2, 1, 1, 2]
    rig.store.calls.clear()

    await rig.add(range(8, 12))

    await eventually(lambda: _count(rig, 2))
    assert rig.store.calls == [4, 2, 1, 1, 1, 1, 2]
    await rig.stored([0, 2, 3, 8, 10, 11])


async def test_the_batches_behind_a_bad_event_are_appended_whole_and_once(rig: Rig) -> None:
    rig.store.poison = set(names([137]))
    await rig.add(range(500))
    rig.start()
    await eventually(rig.letters)
    rig.store.calls.clear()

    await rig.add(range(500, 3_000))

    await rig.stored(number for number in range(3_000) if number != 137)
    assert sum(rig.store.calls) == 2_500


async def test_taking_a_batch_apart_is_progress(rig: Rig) -> None:
    rig.store.poison = set(names(range(0, 40, 2)))
    rig.start(pace=SLICES)
    await eventually(lambda: rig.redis.hexists("routiium:analytics:workers", "one"))
    started = (await rig.progress()).at
    rig.store.slow = 0.01
    await rig.add(range(40))

    await eventually(lambda: _moved_with_work_in_hand(rig, started), what="progress")

    await rig.stored(range(1, 40, 2))


async def test_a_clear_while_a_batch_is_taken_apart_waits_for_one_slice(rig: Rig) -> None:
    rig.store.poison = set(names(range(0, 400, 2)))
    rig.store.slow = 0.005
    rig.start(pace=SLICES)
    await rig.add(range(400))
    await eventually(lambda: len(rig.store.calls) > 20)

    began = time.monotonic()
    await asyncio.to_thread(rig.admin.drop_all)
    await asyncio.to_thread(rig.store.clear)
    assert time.monotonic() - began < 0.5

    rig.store.poison = set()
    await rig.add(range(1_000, 1_005))
    await rig.stored(range(1_000, 1_005))
    assert await rig.letters() == []


async def test_a_stop_gives_a_batch_back_that_is_being_taken_apart(rig: Rig) -> None:
    rig.store.poison = set(names(range(400)))
    rig.store.slow = 0.005
    rig.start(pace=SLICES)
    await rig.add(range(400))
    await eventually(lambda: len(rig.store.calls) > 20)

    await rig.stop()

    assert await rig.redis.exists(WRITING + "one") == 0
    assert await rig.letters() == []
    rig.store.poison = set()
    rig.start("next", pace=replace(FAST, reclaim_idle_ms=60_000))
    await rig.stored(range(400))


async def test_a_store_that_goes_away_while_a_batch_is_taken_apart_is_waited_for(rig: Rig) -> None:
    rig.store.poison = set(names([3]))
    rig.store.slow = 0.005
    rig.start(pace=SLICES)
    await rig.add(range(200))
    await eventually(lambda: 0 < len(rig.store.ids()) < 199)
    rig.store.away = True
    calls = len(rig.store.calls)
    await eventually(lambda: len(rig.store.calls) > calls + 3)
    assert "the store is away" in str((await rig.progress()).trouble)

    rig.store.away = False

    await rig.stored(number for number in range(200) if number != 3)
    assert len(await rig.letters()) == 1


async def test_a_flood_of_bad_events_holds_up_good_ones_for_seconds_only(rig: Rig) -> None:
    """Entries of one event each are the worst case: a batch holds few events then."""
    bad = range(500)
    rig.store.poison = set(names(bad))
    await rig.queue.add([pack("native", [event]) for event in received(bad)])
    await rig.add(range(5_000, 5_500))
    # Patience as it is: 24 seconds for these batches, were each of them waited with.
    rig.start(pace=replace(FAST, first_backoff=0.1, longest_backoff=5.0))

    await eventually(lambda: len(rig.store.ids()) == 500, within=12, what="the good ones")

    await rig.empty()
    totals = await rig.totals()
    assert (totals["dead"], totals["dead_dropped"]) == (500, 491)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_bad_events_stop_at_the_bound_of_dead_letters(rig: Rig) -> None:
    rig.store.poison = set(names(range(100_000)))
    for start in range(0, 100_000, 500):
        await rig.add(range(start, start + 500))
        await rig.add([200_000 + start])
    rig.start(max_dead_letters=10_000)
    began = time.monotonic()

    await eventually(lambda: _is_empty(rig), within=300, what="an empty queue")

    print(f"100,000 bad events: {time.monotonic() - began:.1f} s")
    state = rig.admin.state()
    assert (state.dead_letters, state.dead_letters_dropped) == (10_000, 90_000)
    assert state.dead_letters_total == 100_000
    assert state.written_total == len(rig.store.ids()) == 200


async def _is_empty(rig: Rig) -> bool:
    return (await rig.queue.backlog()).events == 0


async def _count(rig: Rig, count: int) -> bool:
    return len(await rig.letters()) == count


async def _moved_with_work_in_hand(rig: Rig, before: float) -> bool:
    return (await rig.progress()).at > before and await rig.pending() == 1
