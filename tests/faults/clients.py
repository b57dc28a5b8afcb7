"""Clients of ingest that never give up: what got no 202 is sent again, with the same ids."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.faults.books import ROUND, event

CLIENTS = 8
CLIENT = ROUND // CLIENTS
"""Numbers a client has in a round."""
LARGEST_BATCH = 20
LARGEST_AFTER_OUTAGE = 100
REPEATED = 0.03
"""The share of acknowledged batches that are sent once more, as by a sender that lost its notes."""
PATIENCE = 90.0
PAUSE = 0.05
TIMEOUT = httpx.Timeout(5.0)


@dataclass
class Delivered:
    """What the clients of one round saw."""

    acknowledged: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: int = 0
    """Answers 429 and 503, and connections that broke."""
    seconds: float = 0.0

    def add(self, other: Delivered) -> None:
        self.acknowledged += other.acknowledged
        self.problems += other.problems
        self.refused += other.refused


class GivenUp(Exception):
    """A batch was not taken for `PATIENCE` seconds."""


class Client:
    """One sender: batches of 1 to 20 events, at a steady rate, each until it is acknowledged.

    What has gathered during an outage goes in larger ones.
    """

    def __init__(self, url: str, first: int, rng: random.Random) -> None:
        self._url = f"{url}/analytics/events"
        self._next = first
        self._rng = rng
        self._delivered = Delivered()

    def run(self, count: int, rate: float) -> Delivered:
        """Send `count` events, `rate` a second; after an outage faster."""
        started = time.monotonic()
        sent = 0
        with httpx.Client(timeout=TIMEOUT) as http:
            while sent < count:
                late = int((time.monotonic() - started) * rate) - sent
                size = max(self._rng.randint(1, LARGEST_BATCH), min(late, LARGEST_AFTER_OUTAGE))
                size = min(size, count - sent)
                batch = range(self._next, self._next + size)
                self._next += size
                sent += size
                try:
                    self._deliver(http, batch)
                except GivenUp as error:
                    self._delivered.problems.append(str(error))
                    break
                time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        return self._delivered

    def _deliver(self, http: httpx.Client, batch: range) -> None:
        self._send_until_taken(http, batch)
        self._delivered.acknowledged += batch
        if self._rng.random() < REPEATED:
            self._send_until_taken(http, batch)

    def _send_until_taken(self, http: httpx.Client, batch: range) -> None:
        events = [event(number) for number in batch]
        deadline = time.monotonic() + PATIENCE
        while not self._taken(http, events):
            if time.monotonic() > deadline:
                raise GivenUp(f"a batch was refused for {PATIENCE} s")
            self._delivered.refused += 1
            time.sleep(PAUSE)

    def _taken(self, http: httpx.Client, events: list[dict[str, object]]) -> bool:
        try:
            answer = http.post(self._url, json=events)
        except httpx.TransportError:
            return False
        if answer.status_code == 202:
            taken = answer.json()
            if taken != {"accepted": len(events), "rejected": []}:
                self._delivered.problems.append(f"202 with {answer.text[:200]}")
            return True
        if answer.status_code not in (429, 503):
            self._delivered.problems.append(f"{answer.status_code}: {answer.text[:200]}")
        return False


def send(url: str, round_number: int, *, count: int, rate: float, seed: str) -> Delivered:
    """Send a round's `count` events from several clients, `rate` a second together."""
    clients = [
        Client(url, round_number * ROUND + index * CLIENT, random.Random(f"{seed}/{index}"))
        for index in range(CLIENTS)
    ]
    total = Delivered()
    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(client.run, count // CLIENTS, rate / CLIENTS) for client in clients]
        for run in runs:
            total.add(run.result())
    total.seconds = time.monotonic() - started
    return total
