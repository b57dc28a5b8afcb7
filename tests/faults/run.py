"""One store's run: rounds of load and faults, and the books at the end of every few of them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.backends import BACKENDS, Backend
from tests.faults.audit import close_books, wait_until_empty, wrong_totals
from tests.faults.books import Balance
from tests.faults.clients import Delivered, send
from tests.faults.injury import Deck, How, Injury, kinds
from tests.harness import OneProcess, Pipeline

WORKERS = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does. A round offers `rate` events a second for `seconds`."""

    seed: int
    rounds: int = 30
    seconds: float = 6.0
    rate: float = 1_200.0
    faults: int = 3
    """Faults in a round."""
    settle_every: int = 5
    """Rounds after which the queue is let run empty and the books are looked at."""


@dataclass(kw_only=True)
class Outcome:
    """What a run has shown; `problems` are whatever else went wrong, in words."""

    store: str
    seed: int
    rounds: int = 0
    events: int = 0
    sending_seconds: float = 0.0
    refused: int = 0
    faults: Counter[tuple[str, How]] = field(default_factory=Counter)
    slowest_stop: tuple[float, str] = (0.0, "")
    lost: int = 0
    twice: int = 0
    dead: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.problems)

    @property
    def rate(self) -> float:
        """Events acknowledged in a second of sending, outages included."""
        return self.events / self.sending_seconds if self.sending_seconds else 0.0

    def add(self, books: Balance, round_number: int) -> None:
        self.lost += len(books.lost)
        self.twice += len(books.twice)
        self.dead += books.dead
        self.problems += [f"round {round_number}: {line}" for line in books.faults()]


class Run:
    """A pipeline on one store under load and faults. `say` is told of the progress."""

    def __init__(
        self,
        store: str,
        plan: Plan,
        pipeline: Pipeline,
        backend: Backend,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._pipeline = pipeline
        self._say = say
        self._injury = Injury(pipeline, backend.server)
        self._shape = (
            {"all": 1} if backend.one_process else {"ingest": 1, "query": 1, "worker": WORKERS}
        )
        cards = kinds(one_process=backend.one_process, server=backend.server)
        self._deck = Deck(cards, random.Random(f"{plan.seed}/{store}"))
        self._open: list[int] = []
        """Acknowledged events whose books are not closed yet."""
        self.outcome = Outcome(store=store, seed=plan.seed)

    def run(self) -> Outcome:
        for number in range(self._plan.rounds):
            self._round(number)
            if (number + 1) % self._plan.settle_every == 0 or number + 1 == self._plan.rounds:
                self._settle()
            if not self.outcome.clean:
                break
        return self.outcome

    def _round(self, number: int) -> None:
        plan = self._plan
        faults = self._deck.deal(plan.faults, plan.seconds)
        self._say(f"round {number + 1}: {', '.join(map(str, faults))}")
        injuring = threading.Thread(target=self._injury.inflict, args=(faults,))
        injuring.start()
        delivered = send(
            self._pipeline.ingest_url,
            number,
            count=int(plan.rate * plan.seconds),
            rate=plan.rate,
            seed=f"{plan.seed}/{self.outcome.store}/{number}",
        )
        injuring.join()
        self._open += delivered.acknowledged
        self._note(delivered)

    def _note(self, delivered: Delivered) -> None:
        outcome = self.outcome
        outcome.rounds += 1
        outcome.events += len(delivered.acknowledged)
        outcome.sending_seconds += delivered.seconds
        outcome.refused += delivered.refused
        outcome.faults = self._injury.inflicted
        outcome.slowest_stop = self._injury.slowest_stop
        outcome.problems += delivered.problems + self._injury.problems
        self._injury.problems = []

    def _settle(self) -> None:
        """Let the queue run empty, and close the books of the rounds since the last time."""
        began = time.monotonic()
        outcome = self.outcome
        outcome.problems += wait_until_empty(self._pipeline)
        self._require_all_running()
        for number, books in close_books(self._pipeline, sorted(self._open)).items():
            outcome.add(books, number + 1)
        self._open.clear()
        outcome.problems += wrong_totals(self._pipeline, outcome.events - outcome.dead)
        self._say(
            f"settled in {time.monotonic() - began:.1f} s: {outcome.events} acknowledged, "
            f"{outcome.lost} lost, {outcome.twice} twice"
        )

    def _require_all_running(self) -> None:
        for kind, count in self._shape.items():
            running = len(self._pipeline.running(kind))
            if running != count:
                self.outcome.problems.append(f"{count - running} of {kind} ended by itself")


def run_store(store: str, plan: Plan, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run `plan` on one store; what it leaves behind, logs among it, is in `folder`."""
    with BACKENDS[store](folder) as backend:
        kind = OneProcess if backend.one_process else Pipeline
        with kind(folder, workers=WORKERS, **backend.settings) as pipeline:
            return Run(store, plan, pipeline, backend, say).run()
