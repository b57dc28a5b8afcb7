"""At least once on the way, exactly once in the store: whatever ends, and whenever."""

import asyncio
from dataclasses import replace

import pytest

from deploy.broker import EmbeddedBroker
from shared.entries import Entry
from shared.events import Event
from shared.stream import GROUP, STREAM, WORKERS
from tests.worker.rig import FAST, Rig, eventually
from worker.decode import decode

pytestmark = pytest.mark.anyio


async def test_what_is_queued_is_stored_once_and_leaves_the_queue(rig: Rig) -> None:
    rig.start()
    await rig.add(range(1_200))

    await rig.stored(range(1_200))
    assert await rig.pending() == 0
    assert await rig.totals() == {"written": 1_200, "duplicates": 0, "expired": 0}


async def test_an_entry_is_acknowledged_after_its_append_and_not_before(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(3))
    await asyncio.to_thread(rig.store.entered.wait, 10)

    assert await rig.pending() == 1
    assert (await rig.queue.backlog()).events == 3
    assert rig.store.ids() == []

    rig.store.gate.set()
    await rig.stored(range(3))
    assert await rig.pending() == 0


async def test_a_crash_between_append_and_acknowledgement_counts_nothing_twice(rig: Rig) -> None:
    await rig.add(range(10))
    [entry] = await rig.take("crashed")
    rig.store.append(_events(entry))

    rig.start()

    await rig.stored(range(10))
    assert await rig.totals() == {"written": 0, "duplicates": 10, "expired": 0}


async def test_a_crash_in_the_middle_of_an_append_loses_nothing(rig: Rig) -> None:
    rig.store.hang()
    rig.start("crashed")
    await rig.add(range(10))
    await asyncio.to_thread(rig.store.entered.wait, 10)
    await rig.crash("crashed")
    rig.store.gate.set()

    rig.start("next")

    await rig.stored(range(10))


async def test_entries_that_others_took_and_left_are_reclaimed(rig: Rig) -> None:
    for first in range(0, 200, 10):
        await rig.add(range(first, first + 10))
    assert len(await rig.take("gone", 12)) == 12
    assert len(await rig.take("gone too", 8)) == 8

    rig.start(pace=FAST)

    await rig.stored(range(200))


async def test_entries_in_work_do_not_hide_idle_ones_behind_them(rig: Rig) -> None:
    for number in range(40):
        await rig.add([number])
    for consumer in ("busy", "gone"):
        await rig.take(consumer, 20)
    held = await _ids(rig, "gone")
    await rig.redis.xclaim(STREAM, GROUP, "gone", 0, [*held], idle=60_000)

    found: set[str] = set()
    # A call of this count looks at ten entries at the most, of which none is idle at first.
    for _ in range(40):
        found |= {e.id for e in await rig.queue.reclaim("one", count=1, idle_ms=30_000)}

    assert len(found) == 20


async def test_a_slow_append_keeps_its_entries_from_others(rig: Rig) -> None:
    rig.store.hang()
    rig.start("slow")
    await rig.add(range(5))
    await asyncio.to_thread(rig.store.entered.wait, 10)

    rig.start("other")
    await asyncio.sleep(2 * FAST.reclaim_idle_ms / 1_000)

    assert rig.store.calls == [5]
    rig.store.gate.set()
    await rig.stored(range(5))


async def test_a_destroyed_group_is_made_again_and_nothing_is_lost(rig: Rig) -> None:
    rig.start()
    await rig.add(range(5))
    await rig.stored(range(5))
    await rig.stop()
    await rig.add(range(5, 10))
    await rig.take("gone")
    rig.start()

    await rig.redis.xgroup_destroy(STREAM, GROUP)
    await rig.add(range(10, 15))

    await rig.stored(range(15))


async def test_a_destroyed_group_under_a_running_append_loses_nothing(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(5))
    await asyncio.to_thread(rig.store.entered.wait, 10)
    await rig.redis.xgroup_destroy(STREAM, GROUP)
    rig.store.gate.set()

    await rig.stored(range(5))


async def test_a_flushed_broker_is_used_again(rig: Rig) -> None:
    rig.start()
    await rig.add(range(5))
    await rig.stored(range(5))

    await rig.redis.flushall()
    await rig.add(range(5, 10))

    await rig.stored(range(10))


async def test_a_removed_stream_takes_its_backlog_along(rig: Rig) -> None:
    await rig.add(range(100))
    await rig.redis.delete(STREAM)
    assert (await rig.queue.backlog()).events == 100

    rig.start()

    await rig.empty()


async def test_a_restarted_broker_is_used_again(rig: Rig, broker: EmbeddedBroker) -> None:
    rig.start()
    await rig.add(range(5))
    await rig.stored(range(5))
    broker.stop()
    await asyncio.sleep(0.1)
    broker.start()

    await rig.add(range(5, 10))

    await rig.stored(range(10))


async def test_a_killed_broker_has_kept_what_it_took(rig: Rig, broker: EmbeddedBroker) -> None:
    rig.store.away = True
    rig.start()
    await rig.add(range(50))
    broker.kill()
    broker.start()
    rig.store.away = False

    await rig.stored(range(50))


async def test_a_full_broker_is_still_emptied(rig: Rig) -> None:
    await rig.add(range(500))
    await rig.redis.delete(WORKERS)
    await rig.redis.config_set("maxmemory", 1)
    try:
        rig.start()
        await rig.stored(range(500))
    finally:
        await rig.redis.config_set("maxmemory", 0)


async def test_three_consumers_share_the_work_without_repeating_it(rig: Rig) -> None:
    for name in ("one", "two", "three"):
        rig.start(name)
    for first in range(0, 3_000, 100):
        await rig.add(range(first, first + 100))

    await rig.stored(range(3_000))
    assert await rig.totals() == {"written": 3_000, "duplicates": 0, "expired": 0}


async def test_workers_that_are_gone_for_good_are_forgotten(rig: Rig) -> None:
    for name in ("gone", "crashed"):
        rig.start(name)
        await _joined(rig, name)
        await rig.crash(name)
    await rig.add(range(3))
    await rig.take("crashed")
    rig.start("alive", pace=replace(FAST, reclaim_idle_ms=60_000))

    await eventually(lambda: rig.queue.forget_idle_consumers(200), what="one forgotten")

    assert sorted(await rig.redis.hkeys(WORKERS)) == [b"alive", b"crashed"]  # type: ignore[misc]
    assert await rig.pending() == 1


async def test_a_worker_that_stops_is_not_listed_any_more(rig: Rig) -> None:
    rig.start()
    await _joined(rig, "one")

    await rig.stop()

    assert rig.admin.state().workers == []


async def test_members_of_a_group_that_was_made_anew_are_forgotten(rig: Rig) -> None:
    rig.start("gone")
    await _joined(rig, "gone")
    await rig.crash("gone")
    await rig.redis.xgroup_destroy(STREAM, GROUP)

    assert await rig.queue.forget_idle_consumers(0) == 1
    assert await rig.redis.hlen(WORKERS) == 0  # type: ignore[misc]


def _events(entry: Entry) -> list[Event]:
    return [item.event for item in decode([entry], 0.0).items]


async def _joined(rig: Rig, name: str) -> None:
    await eventually(lambda: rig.redis.hexists(WORKERS, name), what=f"{name} in the group")


async def _ids(rig: Rig, consumer: str) -> list[str]:
    found = await rig.redis.xpending_range(STREAM, GROUP, "-", "+", 100, consumer)
    return [pending["message_id"].decode() for pending in found]
