"""The Redis store on a server that is away, slow, full, a replica, or set up to lose events."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.broker import EmbeddedBroker
from shared.errors import StoreUnavailable
from shared.stores.redis_layout import Keys
from shared.stores.redis_server import RedisServer
from shared.stores.redis_store import RedisStore
from tests.harness import free_port
from tests.stores.redis_servers import running_redis
from tests.stores.samples import BASE, EVER, Clock, make_event, scanned, varied_events


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with running_redis(tmp_path) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedBroker) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def store(server: EmbeddedBroker) -> Iterator[RedisStore]:
    store = RedisStore(server.url)
    yield store
    store.close()


def test_a_server_that_is_away_is_said_and_used_again_once_back(
    server: EmbeddedBroker, store: RedisStore
) -> None:
    store.append([make_event("a")])
    server.stop()
    for call in (store.ping, store.stats, store.clear, store.expire):
        with pytest.raises(StoreUnavailable):
            call()
    with pytest.raises(StoreUnavailable):
        store.append([make_event("b")])
    with pytest.raises(StoreUnavailable):
        next(store.scan(EVER))

    server.start()
    assert store.append([make_event("a"), make_event("b")]) == 1
    assert store.aggregate(EVER).total_requests == 2


def test_a_server_that_was_killed_still_has_what_was_appended(
    server: EmbeddedBroker, store: RedisStore
) -> None:
    events = varied_events(500, start=BASE - 9_999, end=BASE)
    store.append(events)
    server.kill()
    server.start()

    assert len(scanned(store)) == 500
    assert store.aggregate(EVER).total_requests == 500


def test_a_server_that_does_not_answer_in_time_is_away(
    server: EmbeddedBroker, client: redis.Redis
) -> None:
    hasty = RedisServer(server.url, timeout=0.1)
    client.client_pause(500)
    with pytest.raises(StoreUnavailable):
        hasty.call("GET", "a")


def test_a_server_that_loads_its_data_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_loading, args=(listener,), daemon=True).start()
        loading = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        with pytest.raises(StoreUnavailable, match="loading"):
            loading.ping()


def _answer_loading(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while connection.recv(65_536):
            connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")


def test_a_replica_takes_no_events_but_answers(client: redis.Redis, store: RedisStore) -> None:
    store.append([make_event("a")])
    client.replicaof("127.0.0.1", str(free_port()))
    with pytest.raises(StoreUnavailable):
        store.append([make_event("b")])
    with pytest.raises(StoreUnavailable):
        store._server.call("SET", "a", "b")
    assert [event.id for event in scanned(store)] == ["a"]

    client.replicaof("NO", "ONE")
    assert store.append([make_event("b")]) == 1


def test_a_full_server_takes_nothing_of_an_append(client: redis.Redis, store: RedisStore) -> None:
    store.append([make_event("a")])
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable):
        store.append([make_event("b"), make_event("c", BASE - 9_999)])
    with pytest.raises(StoreUnavailable):
        store._server.call("SET", "a", "b")
    assert [event.id for event in scanned(store)] == ["a"]
    assert store.aggregate(EVER).total_requests == 1

    client.config_set("maxmemory", 0)
    assert store.append([make_event("b")]) == 1


def test_a_full_server_can_be_cleared(client: redis.Redis, store: RedisStore) -> None:
    store.append(varied_events(50, start=BASE - 9_999, end=BASE))
    client.config_set("maxmemory", 1)
    store.clear()

    assert scanned(store) == []
    assert client.dbsize() == 1


def test_events_expire_on_a_full_server(server: EmbeddedBroker, client: redis.Redis) -> None:
    clock = Clock()
    store = RedisStore(server.url, ttl_seconds=3_600, clock=clock)
    store.append(varied_events(50, start=BASE - 3_000, end=BASE))
    client.config_set("maxmemory", 1)
    clock.now = BASE + 1_800
    gone = store.expire()
    assert 0 < gone < 50
    assert store.aggregate(EVER).total_requests == 50 - gone


def test_a_user_without_the_right_is_told_and_no_event_is_at_fault(
    server: EmbeddedBroker, client: redis.Redis
) -> None:
    client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+ping", "+@connection"
    )
    with pytest.raises(StoreUnavailable):
        RedisStore(_as_user(server.url, "reader")).append([make_event("a")])


def test_the_server_may_forbid_info(
    server: EmbeddedBroker, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "writer", "on", ">secret", "~*", "+@all", "-info", "-config"
    )
    store = RedisStore(_as_user(server.url, "writer"))

    assert store.append([make_event("a")]) == 1
    assert caplog.records == []


def _as_user(url: str, user: str) -> str:
    return url.replace("redis://", f"redis://{user}:secret@")


def test_a_key_that_is_no_one_of_its_own_is_an_error_as_it_comes(
    client: redis.Redis, store: RedisStore
) -> None:
    client.set(Keys(0).timeline, "something else")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.append([make_event("a")])


def test_a_server_that_keeps_everything_earns_no_warning(
    store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.append([make_event("a")])
    assert caplog.records == []


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("maxmemory-policy", "allkeys-lru", "evict"), ("appendonly", "no", "append-only")],
)
def test_a_server_that_may_lose_events_earns_one_warning(
    client: redis.Redis,
    store: RedisStore,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    value: str,
    said: str,
) -> None:
    client.config_set(setting, value)
    with caplog.at_level(logging.WARNING):
        store.append([make_event("a")])
        store.append([make_event("b")])

    (record,) = caplog.records
    assert said in record.message
