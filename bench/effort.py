"""How much a run of the benchmarks measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Rounds, the seconds of one, events to drain, seconds of paced sending, lines to import."""

    rounds: int
    seconds: float
    drain_rounds: int
    drain_events: int
    paced_seconds: float
    import_lines: int


FULL = Effort(
    rounds=5,
    seconds=3.0,
    drain_rounds=3,
    drain_events=300_000,
    paced_seconds=20.0,
    import_lines=1_000_000,
)
QUICK = Effort(
    rounds=2,
    seconds=1.5,
    drain_rounds=1,
    drain_events=100_000,
    paced_seconds=6.0,
    import_lines=200_000,
)
