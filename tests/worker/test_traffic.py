"""The traffic counters: what was written, once, by model, endpoint and backend, and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from shared.events import ReceivedEvent
from shared.stream import group_into_entries, pack
from shared.traffic import Labels, Sums
from tests.harness import event
from tests.stores.samples import make_event
from tests.worker.rig import Rig
from worker.tally import MAX_COMBINATIONS, Tally, newly_written

GPT: Labels = ("gpt-4o", "/v1/chat/completions", "openai")


async def _add(rig: Rig, events: list[dict[str, Any]]) -> None:
    received = msgspec.convert(events, list[ReceivedEvent])
    await rig.queue.add(group_into_entries(pack("native", received)))


async def _requests(rig: Rig) -> dict[Labels, float]:
    found = await asyncio.to_thread(rig.admin.traffic)
    return {labels: sums.requests for labels, sums in found}


def _of_model(number: int, model: str, **request: str) -> dict[str, Any]:
    return event(number, request={"endpoint": "/v1/responses", "model": model, **request})


@pytest.mark.anyio
async def test_what_is_written_is_counted_and_what_is_written_again_is_not(rig: Rig) -> None:
    rig.start()
    for _ in range(3):
        await rig.add(range(20))
        await rig.stored(range(20))
    await rig.add(range(20, 25))
    await rig.stored(range(25))

    assert await _requests(rig) == {GPT: 25}


@pytest.mark.anyio
async def test_sums_grow_from_batch_to_batch(rig: Rig) -> None:
    rig.start()
    for number in (1, 2, 3):
        await rig.add([number])
        await rig.stored(range(1, number + 1))

    [(labels, sums)] = await asyncio.to_thread(rig.admin.traffic)
    assert labels == GPT
    assert (sums.requests, sums.input_tokens, sums.output_tokens) == (3, 30, 15)
    assert sums.duration_ms == 101 + 102 + 103
    assert sums.buckets == [0, 3, *[0] * 10]


@pytest.mark.anyio
async def test_a_dead_letter_is_no_traffic(rig: Rig) -> None:
    rig.store.poison = {"event-3"}
    rig.start()
    await rig.add(range(6))
    await rig.empty()

    assert len(await rig.letters()) == 1
    assert await _requests(rig) == {GPT: 5}


@pytest.mark.anyio
async def test_made_up_models_add_no_more_than_the_bound(rig: Rig) -> None:
    rig.start(max_combinations=4)
    await _add(rig, [_of_model(n, "known") for n in range(10)])
    await rig.empty()
    await _add(rig, [_of_model(n, f"made-up-{n}") for n in range(10, 1_010)])
    await _add(rig, [_of_model(n, "known") for n in range(1_010, 1_015)])
    await rig.empty()

    found = await _requests(rig)
    assert found["known", "/v1/responses", "openai"] == 15
    assert sum(found.values()) == 1_015
    assert len(found) == 4 + 1
    assert sum(count for labels, count in found.items() if labels[0] == "other") >= 990


@pytest.mark.anyio
async def test_past_the_bound_endpoints_are_kept_up_to_the_bound_again(rig: Rig) -> None:
    rig.start(max_combinations=2)
    for n in range(6):
        await _add(rig, [_of_model(n, f"m{n}", endpoint=f"/v1/{n}")])
        await rig.empty()

    assert await _requests(rig) == {
        ("m0", "/v1/0", "openai"): 1,
        ("m1", "/v1/1", "openai"): 1,
        ("other", "/v1/2", "openai"): 1,
        ("other", "/v1/3", "openai"): 1,
        ("other", "other", "other"): 2,
    }


@pytest.mark.anyio
async def test_a_clear_begins_the_counters_anew(rig: Rig) -> None:
    rig.start()
    await rig.add(range(5))
    await rig.stored(range(5))
    await asyncio.to_thread(rig.admin.drop_all)
    await asyncio.to_thread(rig.store.clear)
    assert await _requests(rig) == {}

    await rig.add(range(2))
    await rig.stored(range(2))
    assert await _requests(rig) == {GPT: 2}


def test_a_tally_adds_up_what_an_event_says() -> None:
    tally = Tally()
    full = make_event("a", tokens=(100, 20), cost=0.5, duration_ms=2_500)
    assert full.token_usage is not None
    full.token_usage.cached_tokens = 60
    failed = make_event("b", status=429, tokens=None, cost=None, duration_ms=2_500.1)
    failed.request.input_tokens = 7
    silent = make_event("c", status=None, tokens=None, cost=None, duration_ms=1e9)
    tally.add([full, failed, silent])

    buckets: list[float] = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1]
    assert tally.traffic() == [
        (
            GPT,
            Sums(
                requests=3,
                errors=1,
                unpriced=2,
                input_tokens=107,
                output_tokens=20,
                cached_tokens=60,
                cost=0.5,
                duration_ms=2_500 + 2_500.1 + 1e9,
                buckets=buckets,
            ),
        )
    ]


def test_a_null_model_is_unknown_and_a_long_one_is_cut() -> None:
    tally = Tally()
    names = [None, "unknown", "x" * 128, "x" * 1_000]
    tally.add([make_event(str(n), model=name) for n, name in enumerate(names)])

    found = {labels[0]: sums.requests for labels, sums in tally.traffic()}
    assert found == {"unknown": 2, "x" * 128: 2}


def test_a_batch_of_more_combinations_keeps_its_largest() -> None:
    tally = Tally()
    rare = [make_event(str(n), model=f"m{n}") for n in range(MAX_COMBINATIONS + 50)]
    tally.add([*rare, make_event("x", model="usual"), make_event("y", model="usual")])

    found = {labels[0]: sums.requests for labels, sums in tally.traffic()}
    assert found["usual"] == 2
    assert found["other"] == 51
    assert len(found) == MAX_COMBINATIONS + 1


def test_a_batch_of_many_endpoints_is_bounded_too() -> None:
    tally = Tally()
    tally.add([make_event(str(n), endpoint=f"/v1/{n}") for n in range(3 * MAX_COMBINATIONS)])

    found = dict(tally.traffic())
    assert found["other", "other", "other"].requests == MAX_COMBINATIONS
    assert sum(sums.requests for sums in found.values()) == 3 * MAX_COMBINATIONS
    assert len(found) == 2 * MAX_COMBINATIONS + 1


@pytest.mark.parametrize(
    ("ids", "new", "counted"),
    [
        (["a", "b", "c"], 3, ["a", "b", "c"]),
        (["a", "b", "c"], 0, []),
        # A repeat within the batch is known by its id.
        (["a", "b", "a"], 2, ["a", "b"]),
        # Of the others the newest are taken for the new ones.
        (["a", "b", "c"], 2, ["b", "c"]),
        (["a", "b", "a", "c"], 1, ["c"]),
    ],
)
def test_as_many_are_counted_as_were_new(ids: list[str], new: int, counted: list[str]) -> None:
    found = newly_written([make_event(each) for each in ids], new)

    assert sorted(event.id for event in found) == counted


def test_of_a_repeat_within_a_batch_the_first_counts() -> None:
    first, second = make_event("a", model="first"), make_event("a", model="second")

    assert newly_written([first, second], 1) == [first]
