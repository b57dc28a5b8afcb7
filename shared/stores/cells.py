"""Rollup cells in columns: many at once, added up by numpy.

`Cells` holds cells of any cube, or events themselves (an event is a cell of one request). Four
things are ever done with them: join, pick, regroup (to fewer dimensions or a coarser grain, which
adds up) and pack. All are additive, so the order in which they are done changes nothing.

Token counts are kept as a low and a high half of 32 bits: sums of the largest counts that an event
may carry leave 64 bits after a thousand events, these do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.stores.base import Dimension, DimensionValue
from shared.stores.columns import (
    Column,
    Floats,
    Histograms,
    Ints,
    firsts,
    key_of,
    run_numbers,
    sums,
)
from shared.stores.histogram import buckets_of
from shared.stores.rollup import Span, part_of

COUNTS = (
    "requests",
    "successful",
    "failed",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "unpriced",
    "rated",
)
SUMS = ("cost", "duration_ms", "rate")
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
COUNTERS = (*COUNTS, *(f"{name}_high" for name in TOKENS))
_PLACE = {name: place for place, name in enumerate((*COUNTERS, *SUMS))}
_HALF = 32


@dataclass(frozen=True, slots=True)
class Measures:
    """What events bring to their cells, a list for each measure; None where there is none."""

    timestamp: Sequence[int]
    dimensions: Mapping[Dimension, Sequence[DimensionValue]]
    input_tokens: Sequence[int | None]
    output_tokens: Sequence[int | None]
    cached_tokens: Sequence[int | None]
    reasoning_tokens: Sequence[int | None]
    cost: Sequence[float | None]
    duration_ms: Sequence[float]
    rate: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells, a column for each thing they hold; `counters` and `sums` have a row for each name."""

    start: Ints
    columns: dict[Dimension, Column]
    counters: Ints
    sums: Floats
    histograms: Histograms

    def __len__(self) -> int:
        return len(self.start)

    @property
    def weight(self) -> int:
        """How much they hold, for bounds on memory."""
        return len(self.start) + len(self.histograms.cell)

    def count(self, name: str) -> Ints:
        """A counter of each cell; of a token counter, its low half."""
        counter: Ints = self.counters[_PLACE[name]]
        return counter

    def total(self, name: str) -> int:
        """A counter over all cells, exactly."""
        low = int(self.count(name).sum())
        if name not in TOKENS:
            return low
        return low + (int(self.count(f"{name}_high").sum()) << _HALF)

    def exact(self, name: str) -> list[int]:
        """A counter of each cell, exactly."""
        low: list[int] = self.count(name).tolist()
        if name not in TOKENS:
            return low
        high = self.count(f"{name}_high").tolist()
        return [one + (other << _HALF) for one, other in zip(low, high, strict=True)]

    def sum(self, name: str) -> Floats:
        summed: Floats = self.sums[_PLACE[name] - len(COUNTERS)]
        return summed

    @classmethod
    def of(cls, measures: Measures, sign: int = 1) -> Cells:
        """Events as cells of one request each; with `sign` -1, as what takes them out."""
        size = len(measures.timestamp)
        duration = _numbers(measures.duration_ms)
        buckets = Histograms(np.arange(size), buckets_of(duration), np.full(size, sign))
        return cls(
            np.array(measures.timestamp, dtype=np.int64),
            {name: Column.of(found) for name, found in measures.dimensions.items()},
            sign * _counters(measures),
            sign * np.array([_numbers(measures.cost), duration, _numbers(measures.rate)]),
            buckets,
        )

    @classmethod
    def join(cls, parts: Sequence[Cells]) -> Cells:
        """The cells of all parts, which know the same dimensions; at least one part."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.start for part in parts]),
            {name: Column.join([p.columns[name] for p in parts]) for name in parts[0].columns},
            np.concatenate([part.counters for part in parts], axis=1),
            np.concatenate([part.sums for part in parts], axis=1),
            Histograms.join([part.histograms for part in parts], [len(part) for part in parts]),
        )

    def within(self, spans: Sequence[Span]) -> Cells:
        """The cells that start in one of the spans, which ascend and don't overlap."""
        edges = [edge for span in spans for edge in (span.start, span.stop)]
        kept = np.searchsorted(edges, self.start, side="right") % 2 == 1
        return self if kept.all() else self._at(np.nonzero(kept)[0], kept)

    def moved_to(self, start: int) -> Cells:
        """The same cells, all of them at `start`."""
        return replace(self, start=np.full(len(self), start, dtype=np.int64))

    def not_below_zero(self) -> Cells:
        """The same cells; a sum from which floats were subtracted may be a hair below nothing."""
        return replace(self, sums=np.maximum(self.sums, 0.0))

    def where(self, filters: Mapping[Dimension, frozenset[DimensionValue]]) -> Cells:
        """The cells that match; each filter's dimension must be known."""
        if not filters:
            return self
        kept = np.ones(len(self), dtype=bool)
        for name, wanted in filters.items():
            kept &= self.columns[name].matching(wanted)
        return self._at(np.nonzero(kept)[0], kept)

    def _at(self, places: Ints, kept: NDArray[np.bool_]) -> Cells:
        place_of = np.cumsum(kept) - 1
        chosen = kept[self.histograms.cell]
        return Cells(
            self.start[places],
            {name: column.at(places) for name, column in self.columns.items()},
            self.counters[:, places],
            self.sums[:, places],
            Histograms(
                place_of[self.histograms.cell[chosen]],
                self.histograms.bucket[chosen],
                self.histograms.count[chosen],
            ),
        )

    def regrouped(self, dimensions: Sequence[Dimension], starts: Ints) -> Cells:
        """Cells of one start (`starts` are the new ones) and values added up, ordered by start.

        A cell in which nothing is left goes.
        """
        columns = {name: self.columns[name] for name in dimensions}
        key = key_of(starts, list(columns.values()))
        order = np.argsort(key, kind="stable")
        first = firsts(key[order])
        group = np.empty(len(self), dtype=np.int64)
        group[order] = run_numbers(first, len(self))
        added = Cells(
            starts[order][first],
            {n: Column(c.values, c.codes[order][first]) for n, c in columns.items()},
            sums(self.counters[:, order], first),
            sums(self.sums[:, order], first),
            self.histograms.regrouped(group),
        )
        kept = np.asarray(added.counters.any(axis=0))
        kept[added.histograms.cell] = True
        return added if kept.all() else added._at(np.nonzero(kept)[0], kept)

    def coarser(self, dimensions: Sequence[Dimension], grain: int) -> Cells:
        """`regrouped` to whole `grain` seconds."""
        return self.regrouped(dimensions, self.start // grain * grain)

    def by_block(self, block: int) -> Iterator[tuple[int, Cells]]:
        """The cells of each `block` seconds; they must be ordered by start."""
        blocks = self.start // block * block
        first = firsts(blocks).tolist()
        edges = np.searchsorted(self.histograms.cell, [*first, len(self)]).tolist()
        cuts = zip(pairwise([*first, len(self)]), pairwise(edges), strict=True)
        for (here, there), (low, high) in cuts:
            yield int(blocks[here]), self._slice(slice(here, there), slice(low, high))

    def _slice(self, cells: slice, buckets: slice) -> Cells:
        return Cells(
            self.start[cells],
            {name: column.at(cells) for name, column in self.columns.items()},
            self.counters[:, cells],
            self.sums[:, cells],
            Histograms(
                self.histograms.cell[buckets] - cells.start,
                self.histograms.bucket[buckets],
                self.histograms.count[buckets],
            ),
        )

    def parts(self) -> list[tuple[int, Cells]]:
        """The cells told apart by the part that their key belongs to."""
        column = self.columns["api_key_id"]
        part = np.array([part_of(value) for value in column.values])[column.codes]
        found = []
        for each in np.unique(part).tolist():
            kept = part == each
            found.append((each, self._at(np.nonzero(kept)[0], kept)))
        return found


def _numbers(found: Sequence[float | None]) -> Floats:
    return np.array([0.0 if number is None else number for number in found], dtype=np.float64)


def _counters(measures: Measures) -> Ints:
    size = len(measures.timestamp)
    success = measures.dimensions["success"]
    counted: dict[str, Any] = {
        "requests": np.ones(size),
        "successful": [value is True for value in success],
        "failed": [value is False for value in success],
        "unpriced": [cost is None for cost in measures.cost],
        "rated": [rate is not None for rate in measures.rate],
    }
    for name in TOKENS:
        tokens = np.array([number or 0 for number in getattr(measures, name)], dtype=np.int64)
        counted[name] = tokens & (2**_HALF - 1)
        counted[f"{name}_high"] = tokens >> _HALF
    return np.array([counted[name] for name in COUNTERS], dtype=np.int64)
