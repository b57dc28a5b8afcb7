"""`GET /analytics/aggregate`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from shared.stores.base import Aggregate, Store

from query_api.answers import Clock, answers
from query_api.parameters import SELECTION
from query_api.params import HOUR, Params


@dataclass(slots=True, kw_only=True)
class RangeAggregate(Aggregate):
    """The figures, and the range that they are of."""

    period_start: int
    period_end: int


class AggregateResource:
    """Figures over a range."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @answers(*SELECTION)
    def on_get(self, params: Params) -> RangeAggregate:
        """Counts, tokens, cost and latency over a range, an hour where none is given.

        Counts, sums and averages are exact. Percentiles are by nearest rank, within 2 % of the
        exact value. An event without a response counts in `total_requests` alone; one without a
        price in `unpriced_requests`.
        """
        selection = params.selection(self._clock(), default_span=HOUR)
        found = self._store.aggregate(selection)
        figures = {each.name: getattr(found, each.name) for each in fields(found)}
        return RangeAggregate(**figures, period_start=selection.start, period_end=selection.end)
