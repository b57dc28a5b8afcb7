"""Dead letters put back on the queue: each moved whole, each tried once more."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from shared.dead_letters import CHUNK, Replayed
from shared.errors import QueueUnavailable
from shared.queue_admin import QueueAdmin
from shared.stream import STREAM
from tests.harness import free_port
from tests.worker.rig import Rig, eventually, names

pytestmark = pytest.mark.anyio


async def dead(rig: Rig, *numbers: int) -> None:
    """Let events of these numbers become dead letters; no worker runs afterwards."""
    rig.store.poison = set(names(numbers))
    rig.start(max_dead_letters=10_000)
    await rig.add(numbers)
    await eventually(lambda: _letters(rig, len(numbers)), what=f"{len(numbers)} dead letters")
    await rig.stop()


async def _letters(rig: Rig, count: int) -> bool:
    return len(await rig.letters()) == count


async def attempts(rig: Rig) -> list[int]:
    return [int(letter["attempts"]) for letter in await rig.letters()]


async def test_what_was_replayed_is_stored_once_its_fault_is_gone(rig: Rig) -> None:
    await dead(rig, 1, 2, 3)
    rig.store.poison = set()

    assert rig.admin.dead_letters.replay() == Replayed(replayed=3, missing=[])

    backlog = await rig.queue.backlog()
    entries = await rig.redis.xrange(STREAM)
    assert await rig.letters() == []
    assert (backlog.events, len(entries)) == (3, 3)
    assert backlog.bytes == sum(len(fields[b"b"]) for _, fields in entries)
    rig.start()
    await rig.stored([1, 2, 3])
    assert (await rig.totals())["replayed"] == 3


async def test_what_fails_again_comes_back_with_one_more_attempt(rig: Rig) -> None:
    await dead(rig, 1, 2)
    assert await attempts(rig) == [5, 5]

    for expected in (6, 7):
        rig.admin.dead_letters.replay()
        rig.start()
        await eventually(lambda: _letters(rig, 2), what="two dead letters again")
        await rig.stop()
        assert await attempts(rig) == [expected, expected]
    letters = await rig.letters()
    assert {letter["reason"] for letter in letters} == {b"ValueError: told to choke"}
    assert {letter["source"] for letter in letters} == {b"native"}


async def test_what_can_not_be_read_comes_back_with_its_reason_and_one_more_attempt(
    rig: Rig,
) -> None:
    bad = {"id": "x", "timestamp": "now"}
    await rig.redis.xadd(STREAM, {"n": 1, "b": b"\xc1 no entry"})
    await rig.add_raw(msgspec.msgpack.encode("no batch"), 1)
    await rig.add_raw(msgspec.msgpack.encode(["litellm", [bad]]), 1)
    rig.start()
    await eventually(lambda: _letters(rig, 3))
    assert await attempts(rig) == [1, 1, 1]
    before = await rig.letters()

    rig.admin.dead_letters.replay()

    await rig.empty()
    await eventually(lambda: _letters(rig, 3))
    after = await rig.letters()
    assert await attempts(rig) == [2, 2, 2]
    for field in ("reason", "source", "payload"):
        assert [letter[field] for letter in after] == [letter[field] for letter in before]


async def test_only_the_letters_asked_for_are_replayed(rig: Rig) -> None:
    await dead(rig, 1, 2, 3)
    third, second, first = rig.admin.dead_letters.newest(10)

    replayed = rig.admin.dead_letters.replay([second.id, "1-1", second.id])

    assert replayed == Replayed(replayed=1, missing=["1-1"])
    assert [letter.id for letter in rig.admin.dead_letters.newest(10)] == [third.id, first.id]
    assert rig.admin.dead_letters.replay([second.id]).missing == [second.id]
    assert rig.admin.dead_letters.replay([]) == Replayed(replayed=0, missing=[])


async def test_a_replay_of_all_ends_though_everything_fails_again(rig: Rig) -> None:
    count = 2 * CHUNK + 50
    await dead(rig, *range(count))
    rig.start(max_dead_letters=10_000)

    replayed = await asyncio.to_thread(rig.admin.dead_letters.replay)

    assert replayed.replayed == count
    await eventually(lambda: _letters(rig, count), what="all of them back")
    assert await attempts(rig) == [6] * count


async def test_an_event_that_is_stored_already_stays_stored_once(rig: Rig) -> None:
    await dead(rig, 1)
    rig.store.poison = set()
    rig.start()
    await rig.add([1])
    await rig.stored([1])

    rig.admin.dead_letters.replay()

    await rig.stored([1])
    assert (await rig.totals())["duplicates"] == 1


async def test_letters_are_replayed_into_a_broker_that_is_full(rig: Rig) -> None:
    await dead(rig, 1, 2)
    rig.store.poison = set()
    await rig.redis.config_set("maxmemory", 1)
    try:
        assert rig.admin.dead_letters.replay().replayed == 2
        rig.start()
        await rig.stored([1, 2])
    finally:
        await rig.redis.config_set("maxmemory", 0)


async def test_letters_are_read_in_pieces_the_newest_first(rig: Rig) -> None:
    count = 2 * CHUNK + 10
    await dead(rig, *range(count))

    found = rig.admin.dead_letters.newest(count + 5)

    assert [letter.event_id for letter in found] == names(reversed(range(count)))
    middle = rig.admin.dead_letters.newest(3, before=found[4].id)
    assert middle == found[5:8]


def test_without_a_broker_a_replay_says_so() -> None:
    admin = QueueAdmin.from_url(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(QueueUnavailable):
        admin.dead_letters.replay()
