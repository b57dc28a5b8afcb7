"""Ending processes of a running pipeline, and starting them again as a supervisor would."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from bench.processes import children
from deploy.broker import BrokerError
from tests.backends import Server
from tests.harness import Pipeline, Service

STOP_SECONDS = 10.0
START_SECONDS = 30.0
LONGEST_PAUSE = 0.5

How = Literal["kill", "kill child", "stop"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one process: `at` seconds into its round, started `pause` seconds later.

    `kill` is SIGKILL to the process (a service's children too), `kill child` to one child, which
    gunicorn and PostgreSQL replace by themselves, `stop` the signal that asks it to end.
    """

    target: str
    how: How
    at: float
    pause: float
    which: int

    def __str__(self) -> str:
        return f"{self.how} {self.target} at {self.at:.1f} s"


def kinds(*, one_process: bool, server: Server | None) -> list[tuple[str, How]]:
    """Every kind of fault that a pipeline of this shape can meet."""
    services = ["all"] if one_process else ["ingest", "worker"]
    targets = [*services, "broker", *(["server"] if server else [])]
    both: list[tuple[str, How]] = [(t, how) for t in targets for how in ("kill", "stop")]
    parents = [services[0], *(["server"] if server and children(server.pid) else [])]
    return [*both, *((parent, "kill child") for parent in parents)]


class Deck:
    """Kinds of faults in random order, each once before any comes again."""

    def __init__(self, cards: list[tuple[str, How]], rng: random.Random) -> None:
        self._cards = cards
        self._rng = rng
        self._left: list[tuple[str, How]] = []

    def deal(self, count: int, seconds: float) -> list[Fault]:
        """`count` faults at random moments of a round of `seconds`, by time."""
        faults = []
        for _ in range(count):
            if not self._left:
                self._left = self._rng.sample(self._cards, len(self._cards))
            target, how = self._left.pop()
            at, pause = self._rng.uniform(0, seconds), self._rng.uniform(0, LONGEST_PAUSE)
            which = self._rng.randrange(1_000)
            faults.append(Fault(target=target, how=how, at=at, pause=pause, which=which))
        return sorted(faults, key=lambda fault: fault.at)


class Injury:
    """Inflicts faults on a pipeline, several at a time but one on the same target."""

    def __init__(self, pipeline: Pipeline, server: Server | None) -> None:
        self._pipeline = pipeline
        self._servers: dict[str, Server] = {"broker": pipeline.broker}
        if server is not None:
            self._servers["server"] = server
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.inflicted: Counter[tuple[str, How]] = Counter()
        self.problems: list[str] = []
        self.slowest_stop = (0.0, "")
        """Seconds, and the name of the process."""

    def inflict(self, faults: list[Fault]) -> None:
        """Inflict each at its moment from now on; returns when everything runs again."""
        started = time.monotonic()
        threads = [threading.Thread(target=self._at, args=(started, fault)) for fault in faults]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _at(self, started: float, fault: Fault) -> None:
        time.sleep(max(0.0, started + fault.at - time.monotonic()))
        try:
            with self._locks[fault.target]:
                self.inflicted[fault.target, fault.how] += 1
                if fault.target in self._servers:
                    self._hurt_server(self._servers[fault.target], fault)
                else:
                    self._hurt_service(fault)
        except Exception as error:
            self.problems.append(f"{fault}: {error!r}")

    def _hurt_server(self, server: Server, fault: Fault) -> None:
        if fault.how == "kill child":
            return _kill_child(server.pid, fault.which)
        if fault.how == "kill":
            server.kill()
        else:
            server.stop()
        time.sleep(fault.pause)
        _start(server)

    def _hurt_service(self, fault: Fault) -> None:
        running = self._pipeline.running(fault.target)
        service = running[fault.which % len(running)]
        if fault.how == "kill child":
            return _kill_child(service.process.pid, fault.which)
        if fault.how == "kill":
            service.kill()
        else:
            self._stop(service)
        time.sleep(fault.pause)
        self._pipeline.start(fault.target)

    def _stop(self, service: Service) -> None:
        began = time.monotonic()
        try:
            service.terminate(within=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{service.name} did not stop within {STOP_SECONDS} s")
            service.kill()
        self.slowest_stop = max(self.slowest_stop, (time.monotonic() - began, service.name))


def _kill_child(pid: int, which: int) -> None:
    """SIGKILL to a child, if there is any: its parent may have been about to fork it."""
    if found := children(pid):
        with suppress(ProcessLookupError):
            os.kill(found[which % len(found)], signal.SIGKILL)


def _start(server: Server) -> None:
    """Start a server, again where one that was killed still holds its files."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return server.start()
        except (AssertionError, BrokerError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
