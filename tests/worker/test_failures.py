"""A store that is away, or chokes: nothing is lost, bad data stops nothing, and it can be seen."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from shared.entries import QueuedBatch, entry_order
from shared.stream import STREAM
from tests.worker.rig import FAST, Rig, eventually, names

pytestmark = pytest.mark.anyio


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_dead_lettered(rig: Rig) -> None:
    rig.store.away = True
    rig.start()
    await rig.add(range(20))
    await eventually(lambda: len(rig.store.calls) > 2 * FAST.tries)
    assert (await rig.queue.backlog()).events == 20

    rig.store.away = False

    await rig.stored(range(20))
    assert await rig.letters() == []


async def test_a_batch_in_hand_is_not_taken_by_others_while_the_store_is_away(rig: Rig) -> None:
    rig.store.away = True
    rig.start("one")
    await rig.add(range(20))
    await eventually(lambda: rig.store.calls)
    rig.start("two")
    await asyncio.sleep(2 * FAST.reclaim_idle_ms / 1_000)

    [entry] = await rig.redis.xpending_range(STREAM, "workers", "-", "+", 10)
    assert entry["consumer"] == b"one"


async def test_a_stop_gives_the_batch_back_while_the_store_is_away(rig: Rig) -> None:
    rig.store.away = True
    rig.start(pace=replace(FAST, longest_backoff=60.0, first_backoff=60.0))
    await rig.add(range(20))
    await eventually(lambda: rig.store.calls)

    await rig.stop()
    rig.store.away = False
    # It would take a minute until others could have it, had it not been given back.
    rig.start("next", pace=replace(FAST, reclaim_idle_ms=60_000))

    await rig.stored(range(20))


async def test_a_stop_gives_a_choking_batch_back_instead_of_burying_it_in_haste(rig: Rig) -> None:
    rig.store.poison = set(names([3]))
    rig.start(pace=replace(FAST, longest_backoff=60.0, first_backoff=60.0))
    await rig.add(range(20))
    await eventually(lambda: rig.store.calls)

    await rig.stop()

    assert await rig.letters() == []
    assert (await rig.queue.backlog()).events == 20


async def test_one_bad_event_of_500_costs_that_event(rig: Rig) -> None:
    rig.store.poison = set(names([137]))
    rig.start()
    await rig.add(range(500))

    await rig.stored(number for number in range(500) if number != 137)
    [letter] = await rig.letters()
    assert letter["id"] == b"event-137"
    assert letter["reason"] == b"ValueError: told to choke"
    assert (letter["source"], letter["attempts"]) == (b"native", b"5")
    assert float(letter["at"]) > 1_700_000_000
    [batch] = msgspec.msgpack.decode(letter["payload"], type=list[QueuedBatch])
    assert (batch.source, len(batch.events)) == ("native", 1)
    assert (batch.events[0].id, batch.events[0].timestamp) == ("event-137", 1_700_000_137)
    assert await rig.totals() == {
        "written": 499,
        "duplicates": 0,
        "expired": 0,
        "dead": 1,
        "dead_dropped": 0,
    }


async def test_a_batch_is_split_so_that_each_event_of_it_has_five_tries(rig: Rig) -> None:
    rig.store.poison = set(names([1]))
    rig.start()
    await rig.add(range(4))

    await rig.stored([0, 2, 3])
    assert rig.store.calls == [4, 4, 4, 4, 2, 1, 1, 2]


async def test_an_event_that_is_alone_is_tried_five_times(rig: Rig) -> None:
    rig.store.poison = set(names([1]))
    rig.start()
    await rig.add([1])

    await eventually(rig.letters)
    assert rig.store.calls == [1] * 5


async def test_a_failure_that_passes_costs_nothing(rig: Rig) -> None:
    rig.store.poison = set(names([1]))
    rig.start()
    await rig.add(range(4))
    await eventually(lambda: len(rig.store.calls) >= 2)
    rig.store.poison = set()

    await rig.stored(range(4))
    assert await rig.letters() == []


async def test_what_can_not_be_read_is_a_dead_letter_and_stops_nothing(rig: Rig) -> None:
    encode = msgspec.msgpack.encode
    await rig.add_raw(encode("no batch"), 3)
    await rig.add_raw(encode(["native", [{"id": "x", "timestamp": "now"}]]), 1)
    await rig.redis.xadd(STREAM, {"n": "many", "b": b"\xc1 foreign"})
    rig.start()
    await rig.add(range(10))

    await rig.stored(range(10))
    reasons = [letter["reason"].decode() for letter in await rig.letters()]
    assert [reason.partition(":")[0] for reason in reasons] == [
        "unreadable batch",
        "unreadable event",
        "unreadable entry",
    ]


async def test_dead_letters_are_bounded_and_what_is_pushed_out_is_counted(rig: Rig) -> None:
    rig.store.poison = set(names(range(100, 112)))
    rig.start(max_dead_letters=5)
    await rig.add(range(100))
    await rig.add(range(100, 112))

    await rig.stored(range(100))
    assert [letter["id"].decode() for letter in await rig.letters()] == names(range(107, 112))
    totals = await rig.totals()
    assert (totals["dead"], totals["dead_dropped"]) == (12, 7)


async def test_a_dead_letter_is_kept_once_though_its_entry_is_delivered_twice(rig: Rig) -> None:
    await rig.add_raw(b"\xc1 no batch", 1)
    rig.store.away = True
    await rig.add(range(5))
    rig.start("first")
    await eventually(lambda: rig.store.calls)
    await rig.crash("first")
    rig.store.away = False

    rig.start("second")

    await rig.stored(range(5))
    assert len(await rig.letters()) == 1
    assert (await rig.totals())["dead"] == 1


async def test_progress_follows_what_is_written(rig: Rig) -> None:
    rig.start()
    await rig.add(range(5))
    await rig.add(range(5))
    await rig.stored(range(5))

    progress = await rig.progress()
    assert (progress.written, progress.duplicates) == (5, 5)
    last = (await rig.redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    assert progress.last_entry is not None
    assert entry_order(progress.last_entry) == entry_order(last)


async def test_an_empty_queue_is_progress(rig: Rig) -> None:
    rig.start()
    before = await eventually(lambda: _published(rig))

    await eventually(lambda: _moved(rig, before), what="progress of an idle worker")


@pytest.mark.parametrize("trouble", ["away", "hang", "choke"])
async def test_a_store_that_takes_nothing_is_no_progress(rig: Rig, trouble: str) -> None:
    rig.start(pace=replace(FAST, tries=1_000))
    await eventually(lambda: _published(rig))
    if trouble == "away":
        rig.store.away = True
    elif trouble == "hang":
        rig.store.hang()
    else:
        rig.store.poison = set(names(range(5)))
    await rig.add(range(5))
    await eventually(lambda: rig.store.calls)
    before = (await rig.progress()).at

    # Long enough for an append to be announced anew, which must not look like progress.
    await asyncio.sleep(10 * FAST.announce_every)
    assert (await rig.progress()).at == before

    rig.store.away, rig.store.poison = False, set()
    rig.store.gate.set()
    await eventually(lambda: _moved(rig, before), what="progress afterwards")


async def _published(rig: Rig) -> float:
    known = await rig.redis.hexists("routiium:analytics:workers", "one")  # type: ignore[misc]
    return (await rig.progress()).at if known else 0.0


async def _moved(rig: Rig, before: float) -> bool:
    return (await rig.progress()).at > before
