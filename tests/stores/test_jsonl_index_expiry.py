"""Expiry of the JSONL store: when the file is written anew, and what is in it then."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from shared.stores.base import Selection
from shared.stores.fold import fold_aggregate, nearest_rank
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_expiry import GIB, Ended, Rewrite, is_due
from shared.stores.jsonl_file import encode_line
from tests.stores.indexed import SMALL, settle
from tests.stores.samples import BASE, DAY, EVER, HOUR, Clock, make_event, scanned, wire


@pytest.mark.parametrize(
    ("share", "overdue", "size", "due"),
    [
        (0.001, 0, 10_000, True),
        (0.001, HOUR, GIB, True),
        (0.001, HOUR - 1, GIB, False),
        (0.001, 9 * HOUR, 10 * GIB, False),
        (0.001, 10 * HOUR, 10 * GIB, True),
        (0.001, 3 * DAY, 500 * GIB, True),
        (0.09, 0, GIB, False),
        (0.11, 0, GIB, True),
    ],
)
def test_a_file_is_written_anew_for_a_fair_share_or_what_is_long_overdue(
    share: float, overdue: int, size: int, due: bool
) -> None:
    found = Ended(events=1, size=round(share * size), oldest=BASE - overdue)
    assert is_due(found, size=size, horizon=BASE, ttl_seconds=30 * DAY) is due


def test_nothing_is_due_where_nothing_has_ended() -> None:
    assert not is_due(Ended(0, 0, BASE), size=0, horizon=BASE, ttl_seconds=2)


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "not indexed"])
def test_an_event_of_two_seconds_is_gone_from_file_and_index_after_three(
    path: Path, indexed: bool
) -> None:
    clock = Clock()
    store = JsonlStore(path, ttl_seconds=2, clock=clock, index=SMALL)
    store.append([make_event("canary-id", BASE), make_event("later", BASE + 2)])
    if indexed:
        settle(store)
    clock.now = BASE + 3

    assert store.expire() == 1
    files = [each for each in path.parent.rglob("*") if each.is_file()]
    assert [each for each in files if b"canary-id" in each.read_bytes()] == []
    assert [event.id for event in scanned(store)] == ["later"]
    store.close()


@pytest.mark.parametrize("indexed", ["whole", "part", "none"])
def test_an_expiry_leaves_every_other_byte_as_it_was(path: Path, indexed: str) -> None:
    clock = Clock(BASE - DAY)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    ends = [encode_line(make_event(f"old{n}", BASE - DAY - n)) for n in range(100)]
    stays = [encode_line(make_event(f"new{n}", BASE - n)) for n in range(300)]
    stays[7] = b"not json\n"
    stays[40] = stays[40].replace(b":", b" :")
    stays[90] = b"\n"
    mixed = [line for n, line in enumerate(stays) for line in [*ends[n : n + 1], line]]
    path.write_bytes(b"".join(mixed[:200]))
    if indexed != "none":
        settle(store)
    with path.open("ab") as file:
        file.write(b"".join(mixed[200:]))
    if indexed == "whole":
        settle(store)
    other = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    clock.now = BASE

    assert other.stats().total_events == 298
    assert store.expire() == 100
    assert path.read_bytes() == b"".join(stays)
    for each in (store, other):
        assert each.stats().total_events == 298
        assert each.aggregate(EVER).total_requests == len(scanned(each)) == 298
        assert len(each.query(EVER, limit=999)) == 298
    store.close()
    other.close()


def test_an_expiry_takes_the_index_along(path: Path) -> None:
    clock = Clock(BASE)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    store.append([make_event(f"e{n:03}", BASE + n) for n in range(300)])
    settle(store)
    clock.now = BASE + DAY + 99

    assert store.expire() == 100
    reader = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    assert [event.id for event in scanned(reader)] == [f"e{n:03}" for n in range(100, 300)]
    assert reader._view._tail.rows == 0
    store.close()
    reader.close()


def _meanwhile(monkeypatch: pytest.MonkeyPatch, action: object) -> None:
    """Do something while an expiry has copied the file and not yet put it in place."""
    before = Rewrite._put_in_place

    def wrapped(self: Rewrite, snapshot: object, fd: int) -> bool:
        action()  # type: ignore[operator]
        return before(self, snapshot, fd)  # type: ignore[arg-type]

    monkeypatch.setattr(Rewrite, "_put_in_place", wrapped)


def test_what_is_appended_during_an_expiry_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(BASE)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    other = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    store.append([make_event(f"e{n:03}", BASE + n) for n in range(50)])
    clock.now = BASE + DAY + 9
    _meanwhile(monkeypatch, lambda: other.append([make_event("meanwhile", BASE + 99)]))

    assert store.expire() == 10
    assert len(scanned(store)) == 41
    assert other.append([make_event("meanwhile", BASE + 99)]) == 0
    store.close()
    other.close()


@pytest.mark.parametrize("action", ["clear", "unlink", "truncate"])
def test_an_expiry_does_not_bring_back_what_was_cleared_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    clock = Clock(BASE)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    other = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    store.append([make_event(f"e{n:03}", BASE + n) for n in range(50)])
    settle(store)
    clock.now = BASE + DAY + 9
    actions = {
        "clear": other.clear,
        "unlink": path.unlink,
        "truncate": lambda: os.truncate(path, 0),
    }
    _meanwhile(monkeypatch, actions[action])

    assert store.expire() == 0
    assert scanned(store) == scanned(other) == []
    assert not path.exists() or path.read_bytes() == b""
    store.close()
    other.close()


def test_a_clear_and_an_expiry_that_begins_in_it_leave_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(BASE)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    other = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    store.append([make_event(f"e{n:03}", BASE + n) for n in range(50)])
    settle(store)
    clock.now = BASE + DAY + 9
    expiry = threading.Thread(target=store.expire)
    at_the_lock = threading.Event()
    lock, replace = store._appender.locked, other._appender.replace

    def locked() -> AbstractContextManager[None]:
        at_the_lock.set()
        return lock()

    def replace_late(source: Path) -> None:
        expiry.start()
        assert at_the_lock.wait(10)
        replace(source)

    monkeypatch.setattr(store._appender, "locked", locked)
    monkeypatch.setattr(other._appender, "replace", replace_late)
    other.clear()
    expiry.join(10)

    assert scanned(store) == scanned(other) == []
    assert path.read_bytes() == b""
    assert list(path.parent.glob("*.new")) == []
    store.close()
    other.close()


@pytest.mark.parametrize("action", ["expire", "clear"])
def test_what_a_rewriting_left_when_it_was_killed_is_removed(path: Path, action: str) -> None:
    clock = Clock(BASE)
    store = JsonlStore(path, ttl_seconds=DAY, clock=clock, index=SMALL)
    store.append([make_event("a", BASE)])
    left, foreign = (path.with_name(path.name + end) for end in (".0123abcd.new", ".eu.new"))
    for each in (left, foreign):
        each.write_bytes(path.read_bytes())
    clock.now = BASE + DAY

    getattr(store, action)()

    assert not left.exists()
    assert foreign.exists()
    store.close()


def _durations(kind: str) -> Sequence[float]:
    return {
        "constant": [250.0] * 999,
        "two peaks": [5.0] * 500 + [9_000.0] * 500,
        "two peaks at the rank": [5.0] * 950 + [9_000.0] * 50,
        "even": [float(n) for n in range(1, 2_000)],
        "wide": [1.03**n for n in range(-900, 900)],
        "zeros": [0.0] * 10 + [1e-9, 3.0],
    }[kind]


@pytest.mark.parametrize("most_exact", [0, 10**9], ids=["bucketed", "exact"])
@pytest.mark.parametrize(
    "kind", ["constant", "two peaks", "two peaks at the rank", "even", "wide", "zeros"]
)
def test_percentiles_are_within_two_percent_of_the_nearest_rank(
    path: Path, kind: str, most_exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.stores.jsonl_figures.MOST_EXACT", most_exact)
    durations = _durations(kind)
    store = JsonlStore(path, index=SMALL)
    events = [make_event(f"e{n}", BASE, duration_ms=ms) for n, ms in enumerate(durations)]
    store.append(events)
    settle(store)

    ordered = sorted(durations)
    (point,) = store.timeseries(Selection(start=0, end=BASE), [BASE, BASE + 60])
    for latency in (store.aggregate(EVER).latency_ms, point.latency_ms):
        for name, p in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
            assert getattr(latency, name) == pytest.approx(nearest_rank(ordered, p), rel=0.02)
        assert latency.max == ordered[-1]
    assert fold_aggregate(events).latency_ms.max == ordered[-1]
    assert wire(store.query(EVER, limit=1)) == wire([max(events, key=lambda e: e.id)])
    store.close()
