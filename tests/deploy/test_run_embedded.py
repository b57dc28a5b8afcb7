"""With no broker anywhere, the command brings its own. The one test that needs the default port."""

import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.run import BROKER_PORT
from tests.deploy.running import Run, processes_in


def require_the_default_port() -> None:
    try:
        with socket.create_server(("127.0.0.1", BROKER_PORT)):
            pass
    except OSError:
        pytest.skip(f"port {BROKER_PORT} is in use: the embedded broker can't be tried here")


def test_a_broker_of_our_own_is_started_and_keeps_its_data(project: Path) -> None:
    require_the_default_port()
    with Run(project) as run:
        run.wait_ready()
        run.post(1, 2)
        run.wait_for_total(2)
        client = redis.Redis(port=BROKER_PORT)
        settings: Any = client.config_get("append*")
        assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
        client.set("kept", "yes")
        client.close()
        assert run.stop(signal.SIGINT) == 0
        assert processes_in(project) == []
    assert list((project / "data/broker").glob("appendonly*"))

    with Run(project) as run:
        run.wait_ready()
        run.post(2, 3)
        run.wait_for_total(3)
        client = redis.Redis(port=BROKER_PORT)
        assert client.get("kept") == b"yes"
        client.close()
        assert run.stop(signal.SIGTERM) == 0
        assert processes_in(project) == []
