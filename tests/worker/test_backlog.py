"""The backlog is exact, in events and bytes, through everything that moves entries."""

import pytest

from shared.entries import Entry, Progress, join, pack
from shared.stream import STREAM
from tests.worker.rig import Rig, received

pytestmark = pytest.mark.anyio

PROGRESS = Progress(started=1.0, at=2.0)


async def acknowledge(rig: Rig, entries: list[Entry], *, new: int = 0, seen: int = 0) -> None:
    await rig.queue.acknowledge("one", entries, new=new, seen=seen, progress=PROGRESS)


async def backlog(rig: Rig) -> tuple[int, int]:
    found = await rig.queue.backlog()
    return found.events, found.bytes


async def test_adding_answers_the_backlog_with_what_was_added(rig: Rig) -> None:
    packed = [pack("native", received(range(size)))[0] for size in (1, 2, 4)]
    sizes = [len(join([batch])) for batch in packed]

    first = await rig.queue.add([[packed[0]]])
    both = await rig.queue.add([[packed[1]], [packed[2]]])

    assert (first.events, first.bytes) == (1, sizes[0])
    assert (both.events, both.bytes) == (7, sum(sizes))
    assert await backlog(rig) == (7, sum(sizes))


async def test_an_entry_of_several_batches_counts_them_all(rig: Rig) -> None:
    packed = [pack("native", received(range(size)))[0] for size in (1, 2, 4)]
    await rig.queue.add([packed])

    [entry] = await rig.take("one")

    assert entry.data == join(packed)
    assert (entry.count, entry.size) == (7, len(join(packed)))
    assert await rig.redis.xlen(STREAM) == 1


async def test_reading_and_reclaiming_change_nothing(rig: Rig) -> None:
    await rig.add(range(10))
    before = await backlog(rig)
    taken = await rig.take("one")
    reclaimed = await rig.queue.reclaim("two", count=10, idle_ms=0)
    await rig.queue.hold("two", [entry.id for entry in taken])
    await rig.queue.give_back("two", [entry.id for entry in taken])

    assert reclaimed == taken
    assert await backlog(rig) == before


async def test_acknowledging_takes_off_what_the_entries_held(rig: Rig) -> None:
    for size in (1, 2, 4):
        await rig.add(range(size))
    first, second, third = await rig.take("one")

    await acknowledge(rig, [first, third], new=5)
    assert await backlog(rig) == (2, second.size)

    await acknowledge(rig, [second], seen=2)
    assert await backlog(rig) == (0, 0)
    assert await rig.totals() == {"written": 5, "duplicates": 2, "expired": 0}


async def test_acknowledging_twice_takes_off_once(rig: Rig) -> None:
    await rig.add(range(3))
    [entry] = await rig.take("one")
    await rig.add(range(4))
    [other] = await rig.take("two")

    await acknowledge(rig, [entry], new=3)
    await acknowledge(rig, [entry], seen=3)

    assert await backlog(rig) == (4, other.size)
    assert await rig.totals() == {"written": 3, "duplicates": 0, "expired": 0}


async def test_acknowledging_what_a_clear_dropped_takes_nothing_off(rig: Rig) -> None:
    await rig.add(range(3))
    taken = await rig.take("one")
    rig.admin.drop_all()
    await rig.add(range(4))
    expected = await backlog(rig)

    await acknowledge(rig, taken, new=3)

    assert expected[0] == 4
    assert await backlog(rig) == expected
    assert await rig.totals() == {}


async def test_a_clear_leaves_an_empty_backlog(rig: Rig) -> None:
    await rig.add(range(3))
    await rig.take("one")
    await rig.add(range(3))

    rig.admin.drop_all()

    assert await backlog(rig) == (0, 0)
    assert await rig.pending() == 0
