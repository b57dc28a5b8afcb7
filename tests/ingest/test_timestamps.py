"""Timestamps: every unit and form that a sender may use, and the bounds of all of them."""

from __future__ import annotations

import math

import pytest

from ingest.timestamps import Invalid, unix_seconds
from shared.events import MAX_AHEAD_SECONDS, MIN_TIMESTAMP

NOW = 1_700_000_000.75
LATEST = 1_700_000_000 + MAX_AHEAD_SECONDS


def seconds(value: float | str | None) -> int:
    return unix_seconds(value, NOW, LATEST)


@pytest.mark.parametrize(
    "value",
    [
        1_699_999_999,
        1_699_999_999.9,
        1_699_999_999_999,
        1_699_999_999_999_999,
        1_699_999_999_999_999_999,
        1.699999999999e12,
        "2023-11-14T22:13:19Z",
        "2023-11-14T22:13:19.999999Z",
        "2023-11-14T23:13:19+01:00",
        "20231114T221319Z",
    ],
)
def test_every_unit_and_form_is_the_same_second(value: float | str) -> None:
    assert seconds(value) == 1_699_999_999


def test_an_absent_timestamp_is_now() -> None:
    assert seconds(None) == 1_700_000_000


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000, 1_000_000_000])
def test_the_bounds_hold_to_the_second_in_every_unit(scale: int) -> None:
    assert seconds(MIN_TIMESTAMP * scale) == MIN_TIMESTAMP
    assert seconds(LATEST * scale) == LATEST
    with pytest.raises(Invalid, match=r"timestamp: .* more than a day ahead"):
        seconds((LATEST + 1) * scale)


@pytest.mark.parametrize("value", [MIN_TIMESTAMP - 1, MIN_TIMESTAMP - 0.5, 0, -1, -1e300])
def test_a_time_before_2000_is_refused(value: float) -> None:
    with pytest.raises(Invalid, match=r"timestamp: .* is before 2000-01-01"):
        seconds(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_refused_as_such(value: float) -> None:
    with pytest.raises(Invalid, match="timestamp: is not a finite number"):
        seconds(value)


@pytest.mark.parametrize("value", [1e300, 10**400, 2**64 * 10])
def test_a_number_past_every_unit_is_refused_without_repeating_it(value: float) -> None:
    with pytest.raises(Invalid, match="timestamp: is too large"):
        seconds(value)


@pytest.mark.parametrize("text", ["2023-11-14T22:13:20", "2023-11-14", "2023-11-14 22:13"])
def test_a_date_without_a_zone_is_refused_and_told_why(text: str) -> None:
    with pytest.raises(Invalid, match="timestamp: has no zone"):
        seconds(text)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1699999999", "2023-13-01T00:00:00Z", "\ud800", "2023\0"]
)
def test_other_text_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Invalid, match=r"^timestamp: is neither a number nor ISO 8601$"):
        seconds(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_dates_at_the_ends_of_the_calendar_are_out_of_bounds(text: str) -> None:
    with pytest.raises(Invalid, match="timestamp: "):
        seconds(text)
