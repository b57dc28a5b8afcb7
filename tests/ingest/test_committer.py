"""Group commit: who shares a write, who is told what, and what a full queue means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from ingest.committer import MAX_GROUP_BYTES, GroupCommitter
from shared.errors import QueueFull, QueueUnavailable
from shared.stream import Backlog, Packed

T = TypeVar("T")
ONE = [Packed(b"one", 1)]
MAX_BYTES = 5 * MAX_GROUP_BYTES


class HeldQueue:
    """A queue whose writes are held until the test lets them go."""

    def __init__(self) -> None:
        self.writes: list[list[Packed]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: BaseException | None = None
        self.size = Backlog(0, 0)
        self.looks = 0

    async def add(self, entries: Sequence[Sequence[Packed]]) -> Backlog:
        self.writes.append([batch for entry in entries for batch in entry])
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return self.size

    async def backlog(self) -> Backlog:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return self.size


class Rig:
    def __init__(self) -> None:
        self.queue = HeldQueue()
        self.now = 0.0
        self.committer = GroupCommitter(
            self.queue, max_events=100, max_bytes=MAX_BYTES, clock=lambda: self.now
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self.committer.run())
        return self.task

    async def hold_first_write(self) -> asyncio.Task[None]:
        """A commit whose write is under way and held."""
        self.queue.open.clear()
        return await self.begin(ONE)

    async def begin(self, batches: list[Packed]) -> asyncio.Task[None]:
        task = asyncio.create_task(self.committer.commit(batches))
        await settled()
        return task


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    rig = Rig()
    task = rig.start()
    yield rig
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def run(test: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(test, 10))


def test_a_lone_commit_is_written_at_once() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.committer.commit(ONE)
            assert rig.queue.writes == [ONE]

    run(scenario())


def test_no_commit_returns_before_its_write_is_acknowledged() -> None:
    async def scenario() -> None:
        async with running() as rig:
            first = await rig.hold_first_write()
            assert rig.queue.writes == [ONE]
            assert not first.done()
            rig.queue.open.set()
            await first

    run(scenario())


def test_commits_that_arrive_during_two_writes_share_the_next() -> None:
    async def scenario() -> None:
        async with running() as rig:
            two = [await rig.hold_first_write(), await rig.begin(ONE)]
            later = [await rig.begin([Packed(bytes([n]), 1)]) for n in range(50)]
            rig.queue.open.set()
            await asyncio.gather(*two, *later)
            assert [len(write) for write in rig.queue.writes] == [1, 1, 50]
            assert [batch.data for batch in rig.queue.writes[2]] == [bytes([n]) for n in range(50)]

    run(scenario())


def test_a_second_write_begins_once_as_many_wait_as_the_first_carries() -> None:
    async def scenario() -> None:
        async with running() as rig:
            two = [await rig.hold_first_write(), await rig.begin(ONE)]
            later = [await rig.begin(ONE) for _ in range(4)]
            rig.queue.open.set()
            await asyncio.gather(*two, *later)
            rig.queue.open.clear()
            rig.queue.writes.clear()

            group = [asyncio.create_task(rig.committer.commit(ONE)) for _ in range(3)]
            await settled()
            others = [await rig.begin(ONE) for _ in range(2)]
            assert [len(write) for write in rig.queue.writes] == [3]
            others.append(await rig.begin(ONE))
            assert [len(write) for write in rig.queue.writes] == [3, 3]
            rig.queue.open.set()
            await asyncio.gather(*group, *others)

    run(scenario())


def test_a_group_is_bounded_in_bytes() -> None:
    async def scenario() -> None:
        async with running() as rig:
            two = [await rig.hold_first_write(), await rig.begin(ONE)]
            big = [Packed(bytes(MAX_GROUP_BYTES // 2 + 1), 1)]
            later = [await rig.begin(big) for _ in range(4)]
            rig.queue.open.set()
            await asyncio.gather(*two, *later)
            assert [len(write) for write in rig.queue.writes] == [1, 1, 2, 2]

    run(scenario())


@pytest.mark.parametrize("failure", [QueueUnavailable("away"), RuntimeError("nobody foresaw it")])
def test_a_failed_write_is_told_to_everyone_in_it_and_the_next_one_works(
    failure: Exception,
) -> None:
    async def scenario() -> None:
        async with running() as rig:
            tasks = [await rig.hold_first_write(), await rig.begin(ONE), await rig.begin(ONE)]
            rig.queue.failure = failure
            rig.queue.open.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(outcome, QueueUnavailable) for outcome in outcomes)
            rig.queue.failure = None
            await rig.committer.commit(ONE)

    run(scenario())


def test_one_sender_going_away_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        async with running() as rig:
            first = await rig.hold_first_write()
            leaving, staying = await rig.begin(ONE), await rig.begin(ONE)
            first.cancel()
            leaving.cancel()
            await settled()
            rig.queue.open.set()
            await staying
            assert leaving.cancelled()
            await rig.committer.commit(ONE)

    run(scenario())


def test_a_full_queue_refuses_before_anything_is_written() -> None:
    async def scenario() -> None:
        async with running() as rig:
            for rig.queue.size in (Backlog(100, 0), Backlog(0, MAX_BYTES)):
                rig.now += 10
                with pytest.raises(QueueFull, match="its bound"):
                    await rig.committer.commit(ONE)
            assert rig.queue.writes == []
            rig.now += 10
            rig.queue.size = Backlog(99, MAX_BYTES - 1)
            await rig.committer.commit(ONE)

    run(scenario())


def test_what_waits_counts_against_the_bound_until_it_is_written() -> None:
    async def scenario() -> None:
        async with running() as rig:
            held = [await rig.hold_first_write(), await rig.begin([Packed(b"many", 98)])]
            held.append(await rig.begin(ONE))
            with pytest.raises(QueueFull, match="100 events"):
                await rig.committer.commit(ONE)
            rig.queue.open.set()
            await asyncio.gather(*held)
            await rig.committer.commit([Packed(b"many", 99)])

    run(scenario())


def test_what_waits_counts_in_bytes_too_and_no_more_once_its_write_failed() -> None:
    async def scenario() -> None:
        async with running() as rig:
            first = await rig.hold_first_write()
            big = await rig.begin([Packed(bytes(MAX_BYTES), 1)])
            with pytest.raises(QueueFull, match="bytes"):
                await rig.committer.commit(ONE)
            rig.queue.failure = QueueUnavailable("away")
            rig.queue.open.set()
            await asyncio.gather(first, big, return_exceptions=True)
            rig.queue.failure = None
            await rig.committer.commit(ONE)

    run(scenario())


def test_the_answer_to_a_write_is_a_look_at_the_backlog() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.committer.commit(ONE)
            assert rig.queue.looks == 1
            rig.queue.size = Backlog(100, 0)
            await rig.committer.commit(ONE)
            with pytest.raises(QueueFull):
                await rig.committer.commit(ONE)
            assert rig.queue.looks == 1

    run(scenario())


def test_the_backlog_is_looked_at_a_few_times_a_second_at_the_most() -> None:
    async def scenario() -> None:
        async with running() as rig:
            rig.queue.size = Backlog(100, 0)
            for rig.now in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
                with pytest.raises(QueueFull):
                    await rig.committer.commit(ONE)
            assert rig.queue.looks == 3

    run(scenario())


def test_readiness_looks_at_the_backlog_as_it_is_now() -> None:
    async def scenario() -> None:
        async with running() as rig:
            await rig.committer.check_room()
            rig.queue.size = Backlog(100, 0)
            rig.now += 0.001
            with pytest.raises(QueueFull):
                await rig.committer.check_room(max_age=0)

    run(scenario())


def test_stopping_writes_what_waits_and_takes_no_more() -> None:
    async def scenario() -> None:
        rig = Rig()
        task = rig.start()
        begun = [await rig.hold_first_write(), await rig.begin(ONE)]
        rig.committer.stop()
        with pytest.raises(QueueUnavailable, match="stopping"):
            await rig.committer.commit(ONE)
        rig.queue.open.set()
        await asyncio.gather(task, *begun)
        assert [len(write) for write in rig.queue.writes] == [1, 1]

    run(scenario())


def test_being_cut_off_tells_everyone_who_waits() -> None:
    async def scenario() -> None:
        rig = Rig()
        task = rig.start()
        tasks = [await rig.hold_first_write(), await rig.begin(ONE), await rig.begin(ONE)]
        task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [QueueUnavailable] * 3
        with pytest.raises(QueueUnavailable, match="stopping"):
            await rig.committer.commit(ONE)

    run(scenario())


def test_stopping_while_nothing_waits_ends_at_once() -> None:
    async def scenario() -> None:
        rig = Rig()
        task = rig.start()
        await settled()
        rig.committer.stop()
        await task

    run(scenario())
