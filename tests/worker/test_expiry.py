"""What has ended is not written, is counted as what it is, and stays no dead letter."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from shared.settings import load_settings
from shared.stores.base import Store
from tests.worker.rig import Rig, TroubledStore, eventually, names
from worker.price_file import load_prices
from worker.service import Services

pytestmark = pytest.mark.anyio

TTL = 3_600
FIRST = 1_700_000_000
"""The timestamp of event 0; each following one is a second later."""


@pytest.fixture
def aging(folder: Path) -> Iterator[TroubledStore]:
    """A store that events 0 to 4 have ended for."""
    store = TroubledStore(folder / "aging.jsonl", ttl_seconds=TTL, clock=lambda: FIRST + TTL + 4)
    yield store
    store.close()


async def test_events_that_ended_before_they_were_written_are_no_duplicates(
    rig: Rig, aging: TroubledStore
) -> None:
    rig.start(store=aging)
    await rig.add(range(10))
    await rig.empty()
    await rig.add(range(10))
    await rig.empty()

    assert aging.ids() == names(range(5, 10))
    assert await rig.totals() == {"written": 5, "duplicates": 5, "expired": 10}
    assert rig.admin.state().expired_total == 10
    assert sum(sums.requests for _, sums in rig.admin.traffic()) == 5


async def test_a_refused_batch_leaves_out_what_has_ended(rig: Rig, aging: TroubledStore) -> None:
    aging.poison = set(names([2, 7]))
    rig.start(store=aging)
    await rig.add(range(10))
    await eventually(rig.letters)
    await rig.empty()

    assert aging.ids() == names([5, 6, 8, 9])
    totals = await rig.totals()
    assert (totals["written"], totals["duplicates"], totals["expired"]) == (4, 0, 5)
    assert [letter["id"].decode() for letter in await rig.letters()] == names([7])


async def test_a_dead_letter_ends_with_its_event_or_as_one_of_its_own_time_would(rig: Rig) -> None:
    await rig.add_raw(b"\xc1 no batch", 1)
    await _bury(rig, reversed(range(250)), letters=251)
    everything = rig.admin.dead_letters.newest(300)
    horizon = FIRST + 239

    left = rig.admin.dead_letters.newest(300, horizon=horizon)
    assert [letter.event_id for letter in left] == [*names(range(240, 250)), None]
    assert rig.admin.dead_letters.newest(3, horizon=horizon) == left[:3]
    assert await rig.queue.expire_letters(horizon) == 240
    assert rig.admin.dead_letters.newest(300) == left == everything[240:]

    assert await rig.queue.expire_letters(int(time.time()) - 60) == 10
    assert await rig.queue.expire_letters(int(time.time()) - 60) == 0
    assert rig.admin.dead_letters.newest(300, horizon=int(time.time())) == []
    assert await rig.queue.expire_letters(int(time.time())) == 1
    assert await rig.letters() == []


async def test_the_job_that_expires_events_expires_dead_letters(
    rig: Rig, aging: TroubledStore
) -> None:
    await _bury(rig, range(10), letters=10)

    assert await _expire(rig, rig.store) == 0, "events of this store never end"
    assert await _expire(rig, aging) == 5

    assert [letter["id"].decode() for letter in await rig.letters()] == names(range(5, 10))


async def _expire(rig: Rig, store: Store) -> int:
    settings = load_settings(env_file=None, broker_url=rig.url)
    services = Services(settings, store, load_prices(None))
    try:
        return await services.expire()
    finally:
        await services.stop()


async def _bury(rig: Rig, numbers: Iterable[int], *, letters: int) -> None:
    """Let these events become dead letters, in their order."""
    numbers = list(numbers)
    rig.store.poison = set(names(numbers))
    rig.start(max_dead_letters=1_000)
    await rig.add(numbers)
    await rig.empty()
    await rig.stop()
    assert len(await rig.letters()) == letters
