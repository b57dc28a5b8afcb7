"""`GET /analytics/pipeline`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import msgspec
from shared.pipeline import BrokerState, PipelineState
from shared.queue_admin import QueueAdmin
from shared.settings import Settings

from query_api.answers import QUEUE_AWAY, answers
from query_api.params import Params


class Limits(msgspec.Struct, frozen=True):
    """Bounds of the queue, in events and bytes, and of its dead letters."""

    events: int
    bytes: int
    dead_letters: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.max_backlog_events, settings.max_backlog_bytes, settings.max_dead_letters
        )


class Bounds(msgspec.Struct):
    """The backlog at which ingest answers 429."""

    events: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(PipelineState):
    """The state with its limits beside it, and what an operator should look at."""

    dead_letters_limit: int
    limits: Bounds
    warnings: list[str]


class PipelineResource:
    """The queue as it is."""

    def __init__(self, queue: QueueAdmin, limits: Limits) -> None:
        self._queue = queue
        self._limits = limits

    @answers(errors={503: QUEUE_AWAY})
    def on_get(self, params: Params) -> Pipeline:
        """The queue as it is, and a sentence for each thing that is wrong with it."""
        return describe(self._queue.state(), self._limits)


def describe(state: PipelineState, limits: Limits) -> Pipeline:
    """The state with its limits beside it, and what an operator should look at."""
    return Pipeline(
        **{each.name: getattr(state, each.name) for each in fields(state)},
        dead_letters_limit=limits.dead_letters,
        limits=Bounds(limits.events, limits.bytes),
        warnings=[
            *_queue_warnings(state, limits),
            *_memory_warnings(state.broker, limits),
            *state.broker.warnings(),
        ],
    )


def _queue_warnings(state: PipelineState, limits: Limits) -> list[str]:
    found = _worker_warnings(state)
    if state.backlog >= limits.events or state.backlog_bytes >= limits.bytes:
        found.append(
            f"the queue is at its bound of {limits.events} events or {limits.bytes} bytes: "
            "ingest answers 429"
        )
    if state.dead_letters >= limits.dead_letters:
        found.append(
            f"the dead letters are at their bound of {limits.dead_letters}: "
            f"{state.dead_letters_dropped} of the oldest have been dropped so far"
        )
    return found


def _memory_warnings(broker: BrokerState, limits: Limits) -> list[str]:
    most, used = broker.maxmemory_bytes or 0, broker.used_memory_bytes or 0
    if not most:
        return []
    if used >= most:
        return [f"the broker is out of memory ({used} of {most} bytes): ingest answers 503"]
    if most < limits.bytes:
        return [
            f"the broker's maxmemory of {most} bytes is less than the queue's bound of "
            f"{limits.bytes} bytes: ingest would answer 503 before it answers 429"
        ]
    return []


def _worker_warnings(state: PipelineState) -> list[str]:
    if not state.backlog_entries:
        return []
    waiting = f"{state.backlog} events wait"
    if not any(worker.alive for worker in state.workers):
        return [f"{waiting} and no worker is alive", *_stalled(state)]
    return _stalled(state)


def _stalled(state: PipelineState) -> list[str]:
    return [
        f"worker {worker.name} has made no progress for {worker.seconds_since_progress:.0f} s"
        + (f": {worker.trouble}" if worker.trouble else "")
        for worker in state.workers
        if not worker.alive
    ]
