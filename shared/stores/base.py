"""The contract of a store. Its docstrings are the only statement of what a store must do.

A store is synchronous and safe to call from several threads. Several processes may hold the same
one open; what one has appended, cleared or expired the others see at their next call.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from shared.events import Event

Dimension = Literal[
    "model",
    "endpoint",
    "backend",
    "api_key_id",
    "status_code",
    "success",
    "upstream_mode",
    "stream",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""What events can be filtered and grouped by."""

DimensionValue = str | int | bool | None
Order = Literal["asc", "desc"]


def dimension_of(event: Event, dimension: Dimension) -> DimensionValue:
    """An event's value of a dimension; None where it has none (a null model, no response)."""
    if dimension in ("model", "endpoint", "stream"):
        return getattr(event.request, dimension)  # type: ignore[no-any-return]
    if dimension in ("backend", "upstream_mode"):
        return getattr(event.routing, dimension)  # type: ignore[no-any-return]
    if dimension == "api_key_id":
        return event.auth.api_key_id
    if event.response is None:
        return None
    return event.response.status_code if dimension == "status_code" else event.response.succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events: `start` ≤ timestamp ≤ `end` (Unix seconds), and every filter matched.

    A filter matches where the event's value is one of the filter's.
    """

    start: int
    end: int
    filters: Mapping[Dimension, frozenset[DimensionValue]] = field(default_factory=dict)

    def matches(self, event: Event) -> bool:
        return self.start <= event.timestamp <= self.end and all(
            dimension_of(event, name) in values for name, values in self.filters.items()
        )


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of events: by timestamp, then by id as UTF-8 bytes."""

    timestamp: int
    id: str

    @classmethod
    def of(cls, event: Event) -> Position:
        return cls(event.timestamp, event.id)

    def key(self) -> tuple[int, bytes]:
        return (self.timestamp, self.id.encode())


@dataclass(slots=True, kw_only=True)
class Latency:
    """Percentiles of `duration_ms` by nearest rank: the value at rank ⌈p·n⌉; None of no events."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(slots=True, kw_only=True)
class Aggregate:
    """Figures over a selection. Counts and sums are exact; tokens in tokens, durations in ms.

    An event without a response counts in `total_requests`, and in neither `successful_requests`
    nor `failed_requests`. Sums of costs add the currencies as they are.
    """

    total_requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    avg_duration_ms: float = 0.0
    models_used: dict[str, int] = field(default_factory=dict)
    endpoints_hit: dict[str, int] = field(default_factory=dict)
    backends_used: dict[str, int] = field(default_factory=dict)
    total_cached_tokens: int = 0
    total_reasoning_tokens: int = 0
    avg_tokens_per_second: float | None = None
    total_cost: float = 0.0
    cost_by_model: dict[str, float] = field(default_factory=dict)
    unpriced_requests: int = 0
    latency_ms: Latency = field(default_factory=Latency)


@dataclass(slots=True, kw_only=True)
class Point:
    """One bucket of a time series, for one value of its group: `start` is its first second."""

    start: int
    group: DimensionValue = None
    requests: int = 0
    successful_requests: int = 0
    failed_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced_requests: int = 0
    avg_duration_ms: float | None = None
    latency_ms: Latency = field(default_factory=Latency)


@dataclass(slots=True, kw_only=True)
class StoreStats:
    """What a store holds now. Timestamps are Unix seconds, None of an empty store."""

    total_events: int = 0
    oldest_timestamp: int | None = None
    newest_timestamp: int | None = None
    size_bytes: int | None = None
    max_events: int | None = None


class Store(abc.ABC):
    """Where events live.

    Retention: with `ttl_seconds` an event ends once `timestamp + ttl_seconds` ≤ now. From that
    second no answer holds it or counts it, whether or not `expire` has run. Whether its id is then
    known still is not promised.

    Every method raises StoreUnavailable where the store is away or out of room.
    """

    backend_type: str
    """The name in `GET /analytics/stats`."""

    def __init__(self, *, ttl_seconds: int | None, clock: Callable[[], float]) -> None:
        self.ttl_seconds = ttl_seconds
        self._clock = clock

    def horizon(self) -> int:
        """The newest timestamp that has ended, in Unix seconds; 0 where events never end."""
        if self.ttl_seconds is None:
            return 0
        return int(self._clock()) - self.ttl_seconds

    def alive(self, selection: Selection) -> Selection:
        """`selection` without what has ended."""
        return replace(selection, start=max(selection.start, self.horizon() + 1))

    @abc.abstractmethod
    def append(self, events: Sequence[Event]) -> int:
        """Store the events that are new and return how many were.

        An event whose id is stored already, or came earlier in `events`, is left out: the first
        wins. So is one that has ended already. All or nothing: where it raises, no event of the
        call is stored. When it returns, the events outlive the process and, where the store writes
        files, a power cut.
        """

    @abc.abstractmethod
    def query(
        self,
        selection: Selection,
        *,
        limit: int,
        order: Order = "desc",
        after: Position | None = None,
    ) -> list[Event]:
        """The first `limit` events of the selection in `order`, those strictly past `after`."""

    @abc.abstractmethod
    def scan(self, selection: Selection) -> Iterator[list[Event]]:
        """Each event of the selection once, in chunks, in no promised order.

        Memory does not grow with the selection. Events appended meanwhile may or may not appear.
        """

    @abc.abstractmethod
    def aggregate(self, selection: Selection) -> Aggregate:
        """Figures over the selection."""

    @abc.abstractmethod
    def timeseries(
        self, selection: Selection, edges: Sequence[int], group_by: Dimension | None = None
    ) -> list[Point]:
        """Figures for each bucket that has events, by bucket and, with `group_by`, by value.

        Bucket i covers `edges[i]` ≤ timestamp < `edges[i + 1]`; edges ascend. Ordered by start,
        then by the group's text. Events outside the edges are left out.
        """

    @abc.abstractmethod
    def stats(self) -> StoreStats:
        """What the store holds."""

    @abc.abstractmethod
    def ping(self) -> None:
        """Return quickly where the store answers; raise StoreUnavailable where it does not."""

    @abc.abstractmethod
    def expire(self) -> int:
        """Remove what has ended; returns how many events went.

        A store may put the removal off while it is small, since no answer holds what has ended.
        """

    def maintain(self) -> bool:
        """A second or two of upkeep, where a store needs any; returns whether more waits."""
        return False

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove every event; their ids are forgotten with them."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the store holds. Closing twice is allowed."""
