"""Answers from cells: summed as they come, then made an `Aggregate` or `Point`s."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shared.stores.base import Aggregate, Dimension, DimensionValue, Latency, Point
from shared.stores.cells import Cells
from shared.stores.columns import Floats, Ints
from shared.stores.fold import point_order
from shared.stores.histogram import latencies_of

_ENOUGH = 200_000
"""Cells and their histograms' buckets that wait at most before they are summed."""


class Adder:
    """Sums cells as they come, so that a long range needs no more memory than its answer."""

    def __init__(self, dimensions: Sequence[Dimension], start_of: Callable[[Ints], Ints]) -> None:
        self._dimensions = dimensions
        self._start_of = start_of
        self._sums: list[Cells] = []
        self._waiting: list[Cells] = []
        self._waiting_weight = 0
        self._allowed = _ENOUGH

    def add(self, cells: Cells) -> None:
        self._waiting.append(cells)
        self._waiting_weight += cells.weight
        if self._waiting_weight >= _ENOUGH:
            self._reduce()
            if sum(each.weight for each in self._sums) > self._allowed:
                self._join()

    def _reduce(self) -> None:
        if self._waiting:
            found = Cells.join(self._waiting)
            self._sums.append(found.regrouped(self._dimensions, self._start_of(found.start)))
        self._waiting, self._waiting_weight = [], 0

    def _join(self) -> None:
        if len(self._sums) > 1:
            joined = Cells.join(self._sums)
            self._sums = [joined.regrouped(self._dimensions, joined.start)]
            # What did not shrink is the answer itself; it is not sorted again for every addition.
            self._allowed = max(_ENOUGH, 2 * self._sums[0].weight)

    def sum(self) -> Cells | None:
        """The cells of all, by new start and `dimensions`; None of nothing."""
        self._reduce()
        self._join()
        return self._sums[0] if self._sums and len(self._sums[0]) else None


def zeros(starts: Ints) -> Ints:
    """One start for all cells."""
    return np.zeros(len(starts), dtype=np.int64)


def aggregate_cells(cells: Cells) -> Aggregate:
    """The aggregate of cells that know model, endpoint and backend."""
    requests = cells.total("requests")
    if not requests:
        return Aggregate()
    rated = cells.total("rated")
    return Aggregate(
        total_requests=requests,
        successful_requests=cells.total("successful"),
        failed_requests=cells.total("failed"),
        total_input_tokens=cells.total("input_tokens"),
        total_output_tokens=cells.total("output_tokens"),
        avg_duration_ms=float(cells.sum("duration_ms").sum()) / requests,
        models_used=_requests_by(cells, "model"),
        endpoints_hit=_requests_by(cells, "endpoint"),
        backends_used=_requests_by(cells, "backend"),
        total_cached_tokens=cells.total("cached_tokens"),
        total_reasoning_tokens=cells.total("reasoning_tokens"),
        avg_tokens_per_second=float(cells.sum("rate").sum()) / rated if rated else None,
        total_cost=float(cells.sum("cost").sum()),
        cost_by_model=_cost_by_model(cells),
        unpriced_requests=cells.total("unpriced"),
        latency_ms=_latencies(cells, np.zeros(len(cells), dtype=np.int64), 1)[0],
    )


def _requests_by(cells: Cells, name: Dimension) -> dict[str, int]:
    column = cells.columns[name]
    counts = _add_up(cells.count("requests"), column.codes, len(column.values))
    found = zip(column.values, counts.tolist(), strict=True)
    return {str(value): count for value, count in found if value is not None and count}


def _cost_by_model(cells: Cells) -> dict[str, float]:
    column = cells.columns["model"]
    size = len(column.values)
    priced = _add_up(cells.count("requests") - cells.count("unpriced"), column.codes, size)
    costs = np.bincount(column.codes, weights=cells.sum("cost"), minlength=size)
    found = zip(column.values, priced.tolist(), costs.tolist(), strict=True)
    return {str(value): cost for value, count, cost in found if value is not None and count}


def _add_up(numbers: Ints, codes: Ints, size: int) -> Ints:
    added = np.zeros(size, dtype=np.int64)
    np.add.at(added, codes, numbers)
    return added


def _latencies(cells: Cells, group: Ints, groups: int) -> list[Latency]:
    buckets = cells.histograms
    return latencies_of(group[buckets.cell], buckets.bucket, buckets.count, groups)


def points_of_cells(cells: Cells, group_by: Dimension | None) -> list[Point]:
    """The points of cells that start where their buckets do, one cell for each group."""
    latencies = _latencies(cells, np.arange(len(cells)), len(cells))
    exact = {
        name: cells.exact(name)
        for name in (
            "requests",
            "successful",
            "failed",
            "input_tokens",
            "output_tokens",
            "unpriced",
        )
    }
    values = _values(cells, group_by)
    costs: Floats = cells.sum("cost")
    durations: Floats = cells.sum("duration_ms")
    points = [
        Point(
            start=start,
            group=values[n],
            requests=exact["requests"][n],
            successful_requests=exact["successful"][n],
            failed_requests=exact["failed"][n],
            input_tokens=exact["input_tokens"][n],
            output_tokens=exact["output_tokens"][n],
            cost=float(costs[n]),
            unpriced_requests=exact["unpriced"][n],
            avg_duration_ms=float(durations[n]) / exact["requests"][n],
            latency_ms=latencies[n],
        )
        for n, start in enumerate(cells.start.tolist())
    ]
    return sorted(points, key=point_order)


def _values(cells: Cells, group_by: Dimension | None) -> list[DimensionValue]:
    if group_by is None:
        return [None] * len(cells)
    column = cells.columns[group_by]
    return [column.values[code] for code in column.codes.tolist()]
