"""Admission: ids, times, and every event either taken or refused by its index."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from ingest.admission import Admission, Gate, Rejection
from ingest.privacy import Scrubber
from routiium_client.event import uuid7
from shared.events import ReceivedEvent, ReceivedRequest

NOW = 1_700_000_000.25


def event(**fields: Any) -> ReceivedEvent:
    return ReceivedEvent(ReceivedRequest("/v1/chat/completions"), **fields)


def admit(*received: ReceivedEvent | Rejection) -> Admission:
    gate = Gate(Scrubber(key_salt="salt", anonymize_ip=False), clock=lambda: NOW)
    return gate.admit(received)


@pytest.mark.parametrize("given", ["a", "x" * 128, "with space", "Bestellung-Nº-7", "事件"])
def test_a_printable_id_is_kept_as_it_is(given: str) -> None:
    assert [taken.id for taken in admit(event(id=given)).accepted] == [given]


@pytest.mark.parametrize("given", ["", "x" * 129, "a\nb", "a\0", "tab\t", "\ud800", "\u200b"])
def test_any_other_id_is_refused_and_not_repeated(given: str) -> None:
    admission = admit(event(id=given))

    assert admission.accepted == []
    assert admission.rejected == [Rejection(0, None, "id: must be 1–128 printable characters")]


def test_an_event_without_id_gets_a_uuid7_of_its_own() -> None:
    first, second = admit(event(), event()).accepted

    assert first.id
    assert second.id
    assert first.id != second.id
    assert uuid.UUID(first.id).version == 7


def test_a_uuid7_holds_its_time_and_the_rfc_variant() -> None:
    assigned = uuid.UUID(uuid7(NOW))

    assert assigned.int >> 80 == 1_700_000_000_250
    assert assigned.variant == uuid.RFC_4122


def test_uuid7s_of_later_times_sort_later() -> None:
    assert uuid7(NOW) < uuid7(NOW + 0.002) < uuid7(NOW + 1_000)


def test_times_leave_in_whole_seconds_whatever_they_came_in() -> None:
    admission = admit(
        event(timestamp=1_699_999_999_500), event(timestamp="2023-11-14T22:13:19Z"), event()
    )

    assert [taken.timestamp for taken in admission.accepted] == [
        1_699_999_999,
        1_699_999_999,
        1_700_000_000,
    ]


def test_bad_events_are_named_by_index_and_id_and_the_others_taken() -> None:
    foreign = Rejection(2, "from-a-parser", "request: is required")
    admission = admit(
        event(id="good"), event(id="old", timestamp=1), foreign, event(id="also good")
    )

    assert [taken.id for taken in admission.accepted] == ["good", "also good"]
    assert admission.rejected == [
        Rejection(1, "old", "timestamp: 1 is before 2000-01-01"),
        foreign,
    ]


def test_a_time_at_the_bound_is_taken_and_one_second_later_refused() -> None:
    admission = admit(event(timestamp=1_700_086_400), event(timestamp=1_700_086_401))

    assert len(admission.accepted) == 1
    assert [refused.index for refused in admission.rejected] == [1]
