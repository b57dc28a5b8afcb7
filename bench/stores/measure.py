"""What is measured of one store, in a process of its own: `load`, then `ask` in a fresh one.

`python -m bench.stores.measure load|ask <settings as JSON> <events>` prints its figures as JSON.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.stores.traffic import DAYS, END, MODELS, Totals, Traffic
from shared.settings import Settings
from shared.stores import open_store
from shared.stores.base import Selection, Store

DAY = 86_400
REPEATS = 25
SLOW_REPEATS = 7
COMPARED = 1_000_000
"""The events, from the first on, over which a load is compared with a bare one: both slow down as
the table grows."""
FAR_TOO_SLOW = 20.0
"""Seconds after which a question is not repeated."""


def load(store: Store, count: int) -> dict[str, Any]:
    """Append all events in batches; only `append` is timed. Checks the totals afterwards."""
    totals = Totals()
    seconds = compared = 0.0
    for events in Traffic(count).batches():
        totals.add(events)
        started = time.perf_counter()
        new = store.append(events)
        seconds += time.perf_counter() - started
        assert new == len(events), f"{new} of {len(events)} events were new"
        if totals.requests <= COMPARED:
            compared = seconds
    started = time.perf_counter()
    while store.maintain():
        pass
    settled = time.perf_counter() - started
    check(store, totals)
    size = store.stats().size_bytes
    return {
        "events_per_second": count / seconds,
        "compared_per_second": min(count, COMPARED) / compared,
        "maintain_seconds": settled,
        "bytes_per_event": None if size is None else size / count,
        "peak_mb": _peak_mb(),
    }


def check(store: Store, totals: Totals) -> None:
    """Fail where the store's own figures are not the generator's."""
    figures = store.aggregate(Selection(start=END - DAYS * DAY, end=END))
    assert figures.total_requests == totals.requests
    assert figures.successful_requests == totals.successful
    assert figures.total_input_tokens == totals.input_tokens
    assert figures.total_output_tokens == totals.output_tokens
    assert figures.models_used == dict(totals.models)
    assert abs(figures.total_cost - totals.cost) <= 1e-6 * totals.cost


def ask(store: Store, count: int) -> dict[str, Any]:
    """Time each question, its range moved a little every time so that no answer is a repeat."""
    moves = random.Random(7)

    def last(seconds: int, **filters: str) -> Selection:
        end = END - moves.randrange(120)
        chosen: Any = {name: frozenset({value}) for name, value in filters.items()}
        return Selection(start=end - seconds + 1 + moves.randrange(60), end=end, filters=chosen)

    def hourly() -> Any:
        selection = last(DAYS * DAY)
        first = selection.start // 3_600 * 3_600
        edges = [selection.start, *range(first + 3_600, selection.end, 3_600), selection.end + 1]
        return store.timeseries(selection, edges, "model")

    questions: dict[str, Callable[[], Any]] = {
        "hour": lambda: store.aggregate(last(3_600)),
        "day": lambda: store.aggregate(last(DAY)),
        "month": lambda: store.aggregate(last(DAYS * DAY)),
        "month_one_model": lambda: store.aggregate(last(DAYS * DAY, model=MODELS[1][0])),
        "newest_100": lambda: store.query(last(DAYS * DAY), limit=100),
        "month_hourly_by_model": hourly,
    }
    figures = {name: _times(question) for name, question in questions.items()}
    return {"milliseconds": figures, "peak_mb": _peak_mb()}


def _times(question: Callable[[], Any]) -> dict[str, float]:
    question()
    times: list[float] = []
    repeats = REPEATS
    while len(times) < repeats:
        started = time.perf_counter()
        question()
        times.append((time.perf_counter() - started) * 1_000)
        if times[0] > FAR_TOO_SLOW * 1_000:
            break
        if times[0] > 1_000:
            repeats = SLOW_REPEATS
    times.sort()
    return {"p50": statistics.median(times), "p95": times[max(0, -(-95 * len(times) // 100) - 1)]}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def main() -> None:
    what, settings, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    store = open_store(Settings(_env_file=None, **settings))  # type: ignore[call-arg]
    measure = {"load": load, "ask": ask}[what]
    try:
        print(json.dumps(measure(store, count)))
    finally:
        store.close()


if __name__ == "__main__":
    main()
