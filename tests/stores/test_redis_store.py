"""What the Redis store keeps in Redis: its keys, how long they last, who may share the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shared import stream
from shared.settings import load_settings
from shared.stores import open_store, redis_reader
from shared.stores.base import Position, Selection
from shared.stores.fold import fold_aggregate
from shared.stores.redis_layout import GENERATION, ROOT, Keys, pack_event, unpack_event
from shared.stores.redis_store import RedisStore
from shared.stores.rollup import CUBES, Place
from shared.stores.segments import MERGE_AT, unpack
from tests.stores.redis_servers import emptied, running_redis
from tests.stores.samples import (
    BASE,
    DAY,
    EVER,
    HOUR,
    Clock,
    assert_same_aggregate,
    by_id,
    extreme_events,
    make_event,
    scanned,
    varied_events,
    wire,
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with emptied(url) as client:
        yield client


@pytest.fixture
def store(url: str, client: Any) -> Iterator[RedisStore]:
    store = RedisStore(url)
    yield store
    store.close()


def test_its_settings_open_it(url: str) -> None:
    store = open_store(load_settings(None, redis_url=url, ttl_seconds=77))

    assert isinstance(store, RedisStore)
    assert store.ttl_seconds == 77
    store.close()


def test_its_keys_are_no_keys_of_the_stream(store: RedisStore, client: Any) -> None:
    store.append(varied_events(50, start=BASE - DAY, end=BASE))
    store.clear()
    store.append(varied_events(50, start=BASE - DAY, end=BASE))

    assert client.dbsize() > 5
    assert all(key.decode().startswith(ROOT) for key in client.scan_iter())
    assert not ROOT.startswith(stream.NAMESPACE)


def test_an_expired_event_leaves_no_key(url: str, client: Any) -> None:
    clock = Clock()
    store = RedisStore(url, ttl_seconds=2, clock=clock)
    store.append(varied_events(300, start=BASE - 1, end=BASE))
    store.append([make_event("ahead", BASE + 1)])
    clock.now = BASE + 3

    assert store.expire() == 301
    assert client.keys("*") == []


def test_an_expired_event_leaves_nothing_in_keys_that_last(url: str, client: Any) -> None:
    clock = Clock()
    store = RedisStore(url, ttl_seconds=HOUR, clock=clock)
    hour = BASE - BASE % HOUR
    left = [make_event(f"left {n}", hour + 900 + n, model=f"other {n}") for n in range(300)]
    store.append([make_event("gone", hour, model="canary", api_key_id="canary"), *left])
    clock.now = hour + HOUR
    assert store.expire() == 1

    assert b"canary" not in _contents(client)
    assert "canary" not in _cell_values(client)
    assert "other 7" in _cell_values(client)
    assert b"other 7" in _contents(client)


def _contents(client: Any) -> bytes:
    found = list(client.scan_iter())
    for key in found.copy():
        if client.type(key) == b"hash":
            found += [part for item in client.hgetall(key).items() for part in item]
        elif client.type(key) == b"zset":
            found += client.zrange(key, 0, -1)
    return b"\n".join(found)


def _cell_values(client: Any) -> set[object]:
    values: set[object] = set()
    for key in client.scan_iter("*:cells:*"):
        name, *place = key.decode().rsplit(":", 4)[1:]
        cube = next(cube for cube in CUBES if cube.name == name)
        for segment in client.hvals(key):
            for column in unpack(segment, cube, int(place[1])).columns.values():
                values.update(column.values)
    return values


def test_redis_drops_every_key_by_itself_a_while_after_its_events(url: str, client: Any) -> None:
    store = RedisStore(url, ttl_seconds=HOUR)
    now = int(time.time())
    store.append([make_event("a", now), make_event("b", now - 1_800)])

    keys = list(client.scan_iter())
    assert len(keys) > 10
    for key in keys:
        assert HOUR < client.ttl(key) <= HOUR + 3 * DAY, key


def test_events_that_redis_dropped_by_itself_are_cleaned_up(url: str, client: Any) -> None:
    clock = Clock()
    store = RedisStore(url, ttl_seconds=HOUR, clock=clock)
    store.append(varied_events(50, start=BASE - HOUR + 1, end=BASE))
    client.unlink(*client.keys("*:events:*"))
    clock.now = BASE + 2 * DAY

    assert store.expire() == 50
    assert client.keys("*") == []


@pytest.mark.parametrize("before", [None, HOUR, 30 * DAY])
@pytest.mark.parametrize("after", [None, HOUR, 30 * DAY])
def test_keys_last_as_the_present_ttl_says(
    url: str, client: Any, before: int | None, after: int | None
) -> None:
    now = int(time.time())
    RedisStore(url, ttl_seconds=before).append([make_event("a", now), make_event("b", now - 60)])
    RedisStore(url, ttl_seconds=after).expire()

    for key in client.scan_iter():
        if after is None:
            assert client.ttl(key) == -1, key
        else:
            assert after < client.ttl(key) <= after + 3 * DAY, key


def test_figures_are_right_after_the_ttl_was_raised(url: str, client: Any) -> None:
    clock = Clock()
    events = varied_events(400, start=BASE - 2 * DAY, end=BASE)
    RedisStore(url, clock=clock).append(events)
    assert RedisStore(url, ttl_seconds=DAY + 999, clock=clock).expire() > 0
    left = [event for event in events if event.timestamp > BASE - DAY - 999]
    store = RedisStore(url, ttl_seconds=9 * DAY, clock=clock)
    late = make_event("late", BASE - DAY - 5_000)
    store.append([late])

    assert wire(scanned(store)) == wire(by_id([*left, late]))
    assert_same_aggregate(store.aggregate(EVER), fold_aggregate([*left, late]))


def test_clear_leaves_what_is_not_its_own(store: RedisStore, client: Any) -> None:
    others = [stream.STREAM, "routiium:analytics:store", ROOT[1:] + "0:timeline", "session"]
    for key in others:
        client.set(key, "kept")
    store.append(varied_events(500, start=BASE - DAY, end=BASE))
    store.clear()

    assert {key.decode() for key in client.scan_iter()} == {*others, GENERATION}


def test_a_clear_that_was_cut_short_is_finished_by_expire(
    store: RedisStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(varied_events(50, start=BASE - DAY, end=BASE))
    with monkeypatch.context() as patched:
        patched.setattr(store, "_sweep", lambda: None)
        store.clear()
    assert scanned(store) == []
    assert client.dbsize() > 10

    store.expire()
    assert [key.decode() for key in client.scan_iter()] == [GENERATION]


def test_appends_during_a_clear_are_stored_whole_or_cleared_whole(
    url: str, store: RedisStore, client: Any
) -> None:
    done = threading.Event()

    def append() -> None:
        writer = RedisStore(url)
        for turn in range(10_000):
            if done.is_set():
                break
            writer.append([make_event(f"{turn}-{n}", BASE - n * 999) for n in range(20)])
        writer.close()

    thread = threading.Thread(target=append)
    thread.start()
    for _ in range(15):
        store.clear()
    done.set()
    thread.join()

    store.append([make_event("last")])
    found = scanned(store)
    assert len(found) % 20 == 1
    assert store.stats().total_events == len(found)
    assert_same_aggregate(store.aggregate(EVER), fold_aggregate(found))
    generation = client.get(GENERATION).decode()
    assert all(
        key.decode().startswith(f"{ROOT}{generation}:") or key.decode() == GENERATION
        for key in client.scan_iter()
    )


def test_an_append_that_another_overtakes_counts_each_event_once(
    url: str, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RedisStore(url)
    unknown = store._unknown

    def overtaken(keys: Keys, events: Any) -> Any:
        found = unknown(keys, events)
        other.append([make_event("b", model="first")])
        return found

    monkeypatch.setattr(store, "_unknown", overtaken)
    assert store.append([make_event(name) for name in "abc"]) == 2
    assert store.aggregate(EVER).models_used == {"gpt-4o": 2, "first": 1}


def test_an_append_that_a_clear_overtakes_is_in_the_cleared_store(
    url: str, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([make_event("a")])
    unknown = store._unknown
    clears = iter([RedisStore(url).clear])

    def overtaken(keys: Keys, events: Any) -> Any:
        found = unknown(keys, events)
        for clear in clears:
            clear()
        return found

    monkeypatch.setattr(store, "_unknown", overtaken)
    assert store.append([make_event("a"), make_event("b")]) == 2
    assert [event.id for event in scanned(store)] == ["a", "b"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_through_thousands_of_events_of_one_second(store: RedisStore, order: Any) -> None:
    events = [make_event(f"{n * 7919 % 4_001:x}", BASE) for n in range(4_001)]
    store.append([*events, make_event("x", BASE - 1), make_event("x2", BASE + 1)])

    ids: list[str] = []
    after = None
    while page := store.query(EVER, limit=333, order=order, after=after):
        ids += [event.id for event in page]
        after = Position.of(page[-1])
    expected = ["x", *sorted(event.id for event in events), "x2"]
    assert ids == (expected if order == "asc" else expected[::-1])


def test_a_filter_reads_little_beside_the_events_that_match(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = varied_events(3_000, start=BASE - 2 * HOUR, end=BASE)
    for event in events[::300]:
        event.auth.api_key_id = "rare"
    store.append(events)
    read: list[bytes] = []

    def counted(event_id: bytes, *rest: Any) -> Any:
        read.append(event_id)
        return unpack_event(event_id, *rest)

    monkeypatch.setattr(redis_reader, "unpack_event", counted)
    wanted = Selection(start=0, end=BASE, filters={"api_key_id": frozenset(["rare"])})
    assert len(store.query(wanted, limit=50)) == 10
    assert len(read) < 50


def test_many_appends_leave_few_segments(store: RedisStore, client: Any) -> None:
    events = varied_events(60, start=BASE - BASE % HOUR, end=BASE)
    for event in events:
        store.append([event])

    for key in client.scan_iter("*:cells:*"):
        assert client.hlen(key) < 2 * MERGE_AT, key
    assert_same_aggregate(store.aggregate(EVER), fold_aggregate(events))


def test_segments_that_another_has_merged_are_not_merged_again(
    url: str, store: RedisStore, client: Any
) -> None:
    for event in varied_events(5, start=BASE, end=BASE):
        store.append([event])
    hour = BASE - BASE % HOUR
    key = Keys(0).cells(Place("traffic", 60, hour, 0))
    stale = list(client.hgetall(key))
    client.hdel(key, stale[0])

    assert not store._server.replace(key, stale, (b"12345678", b"twice"))
    assert client.hlen(key) == 4


def test_scripts_that_the_server_forgot_are_sent_again(store: RedisStore, client: Any) -> None:
    store.append([make_event("a")])
    client.script_flush()
    assert store.append([make_event("b")]) == 1


def test_a_packed_event_stays_readable() -> None:
    packed = bytes.fromhex(
        "9801 99 a2 2f76 a4 504f5354 c0 c2 00 c0 c0 c0 c0 92 ccc8 00"
        "94 cb4059000000000000 c0 c0 c0 94 c2 c0 c0 c0 95 a1 61 a1 62 c2 90 c2 c0 c0"
    )
    event = unpack_event(b"id", 7, packed)

    assert (event.id, event.timestamp, event.request.endpoint) == ("id", 7, "/v")
    assert event.response is not None
    assert event.response.status_code == 200
    assert (event.performance.duration_ms, event.routing.upstream_mode) == (100.0, "b")
    for event in extreme_events():
        again = unpack_event(event.id.encode(), event.timestamp, pack_event(event))
        assert wire([again]) == wire([event])
