"""What has ended is not written, and is counted as what it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.rig import Rig, TroubledStore, eventually, names

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
