"""Taking a refused batch apart: everything good is appended once, everything bad is named."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StoreUnavailable
from shared.events import Event, Request
from worker.apart import Group, append_apart
from worker.decode import Item

TRIES = 5


class Picky:
    """A store that refuses each batch with one of `bad` in it, and is away at some calls."""

    def __init__(self, bad: set[int], away: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.bad = bad
        self.away = away
        self.calls: list[list[int]] = []
        self.stored: list[int] = []

    def append(self, events: Sequence[Event]) -> int:
        numbers = [event.timestamp for event in events]
        self.calls.append(numbers)
        if len(self.calls) in self.away:
            raise StoreUnavailable("away")
        if self.bad & set(numbers):
            raise ValueError("bad")
        new = [number for number in numbers if number not in self.stored]
        self.stored += new
        return len(new)

    def tries(self, number: int) -> int:
        return sum(number in call for call in self.calls)


def items(count: int, *, attempts: int = 0) -> list[Item]:
    return [
        Item(Event(str(number), number, Request("/")), "1-0", "native", attempts)
        for number in range(count)
    ]


def run_to_the_end(store: Picky, group: Group, *, seconds: float = 60.0) -> tuple[int, list[int]]:
    """How many were new, and which were bad."""
    groups, new, bad = [group], 0, []
    while groups:
        outcome = append_apart(store.append, groups, tries=TRIES, seconds=seconds)
        groups = outcome.rest
        new += outcome.new
        bad += [item.event.timestamp for item, _ in outcome.bad]
    return new, bad


@given(
    st.integers(1, 200).flatmap(
        lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))
    ),
    st.sets(st.integers(1, 60)),
    st.sampled_from([0.0, 60.0]),
)
def test_what_is_good_is_stored_once_in_order_and_what_is_bad_is_named(
    batch: tuple[int, set[int]], away: set[int], seconds: float
) -> None:
    count, bad = batch
    store = Picky(bad, away)

    new, found = run_to_the_end(store, Group(items(count), 0), seconds=seconds)

    good = [number for number in range(count) if number not in bad]
    assert store.stored == good
    assert new == len(good)
    assert found == sorted(bad)
    assert all(store.tries(number) >= TRIES for number in bad)


def test_one_bad_event_of_500_costs_a_few_appends() -> None:
    store = Picky({137})
    run_to_the_end(store, Group(items(500), 0))

    assert len(store.calls) <= 2 * 9 + 1


def test_failures_before_count_and_a_replayed_event_has_one_try_alone() -> None:
    before, replayed = Picky({0}), Picky({0})

    run_to_the_end(before, Group(items(1), TRIES - 1))
    run_to_the_end(replayed, Group(items(1, attempts=TRIES), 0))

    assert before.calls == replayed.calls == [[0]]


def test_a_slice_ends_with_its_time_and_leaves_the_rest_in_order() -> None:
    store = Picky({0})
    ticks = iter(range(100))

    outcome = append_apart(
        store.append,
        [Group(items(8), 0)],
        tries=TRIES,
        seconds=2.0,
        clock=lambda: float(next(ticks)),
    )

    assert [[item.event.timestamp for item in group.items] for group in outcome.rest] == [
        [0, 1],
        [2, 3],
        [4, 5, 6, 7],
    ]
    assert [group.failures for group in outcome.rest] == [2, 2, 1]


def test_a_store_that_is_away_ends_the_slice_and_costs_no_try() -> None:
    store = Picky(set(), {1})

    outcome = append_apart(store.append, [Group(items(4), 1)], tries=TRIES, seconds=60.0)

    assert str(outcome.away) == "away"
    assert [(len(group.items), group.failures) for group in outcome.rest] == [(4, 1)]
