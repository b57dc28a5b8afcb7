"""The bookkeeping of the fault runs: it must not balance where something is wrong."""

from __future__ import annotations

import pytest

from tests.faults.books import ROUND, Balance, balance, event, event_id, figures, period

NUMBERS = range(3 * ROUND, 3 * ROUND + 200)
IDS = [event_id(number) for number in NUMBERS]


def held(*, stored: list[str] = IDS, dead: list[str] | None = None) -> Balance:
    counted = {number for number in NUMBERS if event_id(number) in stored}
    return balance(NUMBERS, stored=stored, dead=dead or [], aggregate=figures(counted))


def test_the_books_balance_where_each_event_is_found_once() -> None:
    assert held().holds
    assert held(stored=IDS[1:], dead=IDS[:1]).holds
    assert held().events == 200


def test_a_lost_event_is_named() -> None:
    books = held(stored=IDS[:-1])

    assert not books.holds
    assert books.lost == IDS[-1:]
    assert IDS[-1] in books.faults()[0]


def test_an_event_stored_twice_is_named() -> None:
    books = held(stored=[*IDS, IDS[7]])

    assert not books.holds
    assert books.twice == [IDS[7]]


def test_an_event_in_the_store_and_in_the_dead_letters_is_there_twice() -> None:
    assert held(dead=[IDS[7]]).twice == [IDS[7]]


def test_an_event_that_nobody_sent_is_named() -> None:
    books = held(stored=[*IDS, "someone-else's"])

    assert not books.holds
    assert books.strangers == ["someone-else's"]


@pytest.mark.parametrize("name", figures(NUMBERS))
def test_each_wrong_figure_is_named_though_every_event_is_found_once(name: str) -> None:
    right = figures(NUMBERS)[name]
    wrong = {**right, "gpt-4o": 1} if isinstance(right, dict) else right + 1

    books = balance(NUMBERS, stored=IDS, dead=[], aggregate={**figures(NUMBERS), name: wrong})

    assert not books.holds
    assert name in books.faults()[0]


def test_a_rounds_events_are_in_its_period_and_in_no_other() -> None:
    start, end = period(3)

    assert all(start <= event(number)["timestamp"] <= end for number in NUMBERS)
    assert period(4)[0] == end + 1
