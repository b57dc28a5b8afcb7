"""The books: what was acknowledged against what the store, the dead letters and the figures hold.

Everything follows from an event's number: its id, its fields, and so what the sums must be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROUND = 1_000_000
"""Numbers a round has; a number says by this whose it is."""
ROUND_SECONDS = 3_600
FIRST_SECOND = 1_700_000_000
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "o3")
STATUSES = (200, 200, 200, 200, 429, 500, None)
SUMS = (
    "total_requests",
    "successful_requests",
    "failed_requests",
    "total_input_tokens",
    "total_output_tokens",
)


def event_id(number: int) -> str:
    return f"f-{number}"


def round_of(name: str) -> int | None:
    """The round that an id was sent in; None of an id that is not ours."""
    prefix, _, number = name.partition("-")
    return int(number) // ROUND if prefix == "f" and number.isdecimal() else None


def period(round_number: int) -> tuple[int, int]:
    """First and last second of a round's events, which no other round's have."""
    start = FIRST_SECOND + round_number * ROUND_SECONDS
    return start, start + ROUND_SECONDS - 1


def event(number: int) -> dict[str, Any]:
    """The event of a number, in wire form. Costs are eighths, so their sums are exact."""
    round_number, place = divmod(number, ROUND)
    status = STATUSES[place % len(STATUSES)]
    return {
        "id": event_id(number),
        "timestamp": period(round_number)[0] + place * 7 % ROUND_SECONDS,
        "request": {"endpoint": "/v1/chat/completions", "model": MODELS[place % len(MODELS)]},
        "response": None if status is None else {"status_code": status},
        "performance": {"duration_ms": place % 1_009},
        "token_usage": {"prompt_tokens": place % 997, "completion_tokens": place % 89},
        "cost": {"input_cost": place % 8 / 8, "output_cost": 0.5, "currency": "USD"},
    }


def figures(numbers: Iterable[int]) -> dict[str, Any]:
    """What `GET /analytics/aggregate` must say of these events, each once."""
    sums: Counter[str] = Counter()
    models: Counter[str] = Counter()
    cost = 0.0
    for each in map(event, numbers):
        response, usage, price = each["response"], each["token_usage"], each["cost"]
        sums["total_requests"] += 1
        sums["total_input_tokens"] += usage["prompt_tokens"]
        sums["total_output_tokens"] += usage["completion_tokens"]
        sums["duration_ms"] += each["performance"]["duration_ms"]
        if response is not None:
            succeeded = response["status_code"] < 400
            sums["successful_requests" if succeeded else "failed_requests"] += 1
        models[each["request"]["model"]] += 1
        cost += price["input_cost"] + price["output_cost"]
    return {
        **{name: sums[name] for name in SUMS},
        "avg_duration_ms": sums["duration_ms"] / max(1, sums["total_requests"]),
        "models_used": dict(models),
        "total_cost": cost,
    }


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How the books of some events compare; they balance where nothing is in any list."""

    events: int
    dead: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    """Ids that nobody has sent."""
    wrong_figures: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.lost or self.twice or self.strangers or self.wrong_figures)

    def faults(self) -> list[str]:
        """A line for each thing that is wrong, with a few examples."""
        named = {"lost": self.lost, "twice": self.twice, "never sent": self.strangers}
        lines = [f"{len(ids)} {what}: {', '.join(ids[:5])}" for what, ids in named.items() if ids]
        return lines + self.wrong_figures


def balance(
    acknowledged: Iterable[int],
    *,
    stored: Sequence[str],
    dead: Sequence[str],
    aggregate: Mapping[str, Any],
) -> Balance:
    """Hold the acknowledged events against the ids found and the store's own figures.

    Each event must be found once, in the store or in the dead letters; the figures must be the
    sums of those in the store.
    """
    numbers = {event_id(number): number for number in acknowledged}
    found = Counter(stored) + Counter(dead)
    in_store = {numbers[name] for name in stored if name in numbers}
    return Balance(
        events=len(numbers),
        dead=len(dead),
        lost=sorted(numbers.keys() - found.keys()),
        twice=sorted(name for name, count in found.items() if count > 1),
        strangers=sorted(found.keys() - numbers.keys()),
        wrong_figures=_differences(figures(in_store), aggregate),
    )


def _differences(expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {given.get(name)}, and the events give {value}"
        for name, value in expected.items()
        if not _equal(value, given.get(name))
    ]


def _equal(expected: Any, given: Any) -> bool:
    if isinstance(expected, float) and isinstance(given, int | float):
        return math.isclose(expected, given, rel_tol=1e-9)
    return bool(expected == given)
