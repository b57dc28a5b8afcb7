"""A clear: nothing accepted before it appears after it, and all that is accepted after it stays."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.errors import QueueUnavailable, StoreBusy
from shared.queue_admin import QueueAdmin
from shared.stream import WRITING
from tests.harness import free_port
from tests.worker.rig import FAST, Rig, eventually, names

pytestmark = pytest.mark.anyio


async def clear(rig: Rig, *, wait_seconds: float = 10.0) -> None:
    """What query_api does on `POST /analytics/clear`."""
    await asyncio.to_thread(rig.admin.drop_all, wait_seconds=wait_seconds)
    await asyncio.to_thread(rig.store.clear)


async def test_what_waits_in_the_queue_is_dropped(rig: Rig) -> None:
    await rig.add(range(10))
    await clear(rig)
    await rig.empty()

    rig.start()
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))


async def test_dead_letters_are_dropped(rig: Rig) -> None:
    rig.store.poison = set(names([1]))
    rig.start()
    await rig.add([1])
    await eventually(rig.letters)

    await clear(rig)

    assert await rig.letters() == []


async def test_an_empty_queue_can_be_cleared(rig: Rig) -> None:
    await rig.redis.flushall()
    await clear(rig)
    rig.start()
    await rig.add(range(5))
    await rig.stored(range(5))


async def test_entries_that_a_consumer_holds_before_its_append_are_not_written(rig: Rig) -> None:
    await rig.add(range(10))
    consumer = rig.start()
    # The consumer reads, and is held up before it announces its append.
    begin, reached, release = _hold_up(rig, consumer)
    await reached.wait()
    await clear(rig)
    release.set()
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))
    assert begin() == 2


async def test_a_clear_waits_for_the_append_that_is_under_way(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(10))
    await asyncio.to_thread(rig.store.entered.wait, 10)
    clearing = asyncio.create_task(clear(rig))
    await eventually(lambda: _dropped(rig))
    assert not clearing.done()

    rig.store.gate.set()
    await clearing
    assert rig.store.ids() == []
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))


async def test_entries_that_a_consumer_holds_while_it_backs_off_are_not_written(rig: Rig) -> None:
    rig.store.away = True
    rig.start()
    await rig.add(range(10))
    await eventually(lambda: len(rig.store.calls) > 2)

    await clear(rig)
    rig.store.away = False
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))


async def test_entries_that_a_choking_store_gets_back_are_not_written(rig: Rig) -> None:
    rig.store.poison = set(names([3]))
    rig.start(pace=replace(FAST, tries=1_000))
    await rig.add(range(10))
    await eventually(lambda: len(rig.store.calls) > 2)

    await clear(rig)
    rig.store.poison = set()
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))
    assert await rig.letters() == []


async def test_entries_of_a_flushed_broker_are_not_written_after_a_clear(rig: Rig) -> None:
    rig.store.away = True
    rig.start()
    await rig.add(range(10))
    await eventually(lambda: len(rig.store.calls) > 2)

    await rig.redis.flushall()
    await asyncio.sleep(0.005)
    await clear(rig)
    rig.store.away = False
    await rig.add(range(10, 15))

    await rig.stored(range(10, 15))


async def test_a_writer_that_hangs_makes_a_clear_give_up_and_say_so(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(10))
    await asyncio.to_thread(rig.store.entered.wait, 10)

    with pytest.raises(StoreBusy, match="one did not finish writing"):
        await asyncio.to_thread(rig.admin.drop_all, wait_seconds=0.3)


async def test_the_announcement_of_a_long_append_is_kept_alive(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(10))
    await asyncio.to_thread(rig.store.entered.wait, 10)
    await rig.redis.delete(WRITING + "one")

    await eventually(lambda: rig.redis.exists(WRITING + "one"), what="another announcement")


async def test_a_crashed_writer_does_not_block_a_clear_for_long(rig: Rig) -> None:
    rig.store.hang()
    rig.start()
    await rig.add(range(10))
    await asyncio.to_thread(rig.store.entered.wait, 10)
    await rig.crash()

    assert 0 < await rig.redis.pttl(WRITING + "one") < 10_000


async def test_clears_under_load_leave_exactly_what_came_after_the_last(rig: Rig) -> None:
    for name in ("one", "two"):
        rig.start(name)
    for round_ in range(10):
        first = round_ * 1_000
        for start in range(first, first + 1_000, 100):
            await rig.add(range(start, start + 100))
        await clear(rig)
    await rig.add(range(100_000, 100_050))

    await rig.stored(range(100_000, 100_050))


def test_a_clear_without_its_broker_says_so() -> None:
    admin = QueueAdmin.from_url(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(QueueUnavailable):
        admin.drop_all()


async def _dropped(rig: Rig) -> bool:
    return (await rig.queue.backlog()).events == 0


def _hold_up(rig: Rig, consumer: object) -> tuple[Callable[[], int], asyncio.Event, asyncio.Event]:
    """Stop the consumer's first announcement until it is released; counts the announcements."""
    queue = consumer._queue  # type: ignore[attr-defined]
    begin_write, reached, release, calls = queue.begin_write, asyncio.Event(), asyncio.Event(), []

    async def held_up(*arguments: object) -> object:
        calls.append(arguments)
        reached.set()
        await release.wait()
        return await begin_write(*arguments)

    queue.begin_write = held_up
    return lambda: len(calls), reached, release
