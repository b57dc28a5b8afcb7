"""Columns of rollup cells, and the runs of equal numbers that they are summed by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.stores.base import DimensionValue

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """A dimension of many cells: `values[code]` for each code."""

    values: list[DimensionValue]
    codes: Ints

    @classmethod
    def of(cls, found: Sequence[DimensionValue]) -> Column:
        values = list(dict.fromkeys(found))
        code_of = {value: code for code, value in enumerate(values)}
        return cls(values, np.array([code_of[value] for value in found], dtype=np.int64))

    @classmethod
    def join(cls, columns: Sequence[Column]) -> Column:
        code_of: dict[DimensionValue, int] = {}
        codes = []
        for column in columns:
            recoded = [code_of.setdefault(value, len(code_of)) for value in column.values]
            codes.append(np.array(recoded, dtype=np.int64)[column.codes])
        return cls(list(code_of), np.concatenate(codes))

    def matching(self, wanted: frozenset[DimensionValue]) -> NDArray[np.bool_]:
        return np.array([value in wanted for value in self.values], dtype=bool)[self.codes]

    def at(self, places: Ints | slice) -> Column:
        """The column of some of the cells, without the values that only others have."""
        codes = self.codes[places]
        used = np.zeros(len(self.values), dtype=np.int64)
        used[codes] = 1
        chosen = np.nonzero(used)[0].tolist()
        return Column([self.values[code] for code in chosen], (used.cumsum() - 1)[codes])


@dataclass(frozen=True, slots=True)
class Histograms:
    """Durations of many cells: `count` in `bucket` of the cell at `cell`, ordered by cell."""

    cell: Ints
    bucket: Ints
    count: Ints

    @classmethod
    def join(cls, parts: Sequence[Histograms], sizes: Sequence[int]) -> Histograms:
        shifts = np.cumsum([0, *sizes[:-1]])
        return cls(
            np.concatenate([part.cell + shift for part, shift in zip(parts, shifts, strict=True)]),
            np.concatenate([part.bucket for part in parts]),
            np.concatenate([part.count for part in parts]),
        )

    def regrouped(self, group: Ints) -> Histograms:
        """Cell n becomes cell `group[n]`; counts of one bucket are added up."""
        groups, width = int(group.max(initial=0)) + 1, int(self.bucket.max(initial=0)) + 1
        if groups * width <= 4 * len(self.cell):
            return self._counted(group, groups, width)
        key = group[self.cell] << 16 | self.bucket
        order = np.argsort(key, kind="stable")
        first = firsts(key[order])
        count = sums(self.count[order], first)
        kept = key[order][first][count != 0]
        return Histograms(kept >> 16, kept & 0xFFFF, count[count != 0])

    def _counted(self, group: Ints, groups: int, width: int) -> Histograms:
        """`regrouped` by a table of all there may be: quicker than sorting, where it is small."""
        table: Ints = np.zeros(groups * width, dtype=np.int64)
        np.add.at(table, group[self.cell] * width + self.bucket, self.count)
        kept = np.nonzero(table)[0]
        return Histograms(kept // width, kept % width, table[kept])


def key_of(starts: Ints, columns: Sequence[Column]) -> Ints:
    """One number for each combination of start and values; it ascends with the start."""
    if len(starts) == 0:
        return starts
    key: Ints = starts - starts.min()
    size = int(key.max()) + 1
    for column in columns:
        if size * len(column.values) >= 2**62:
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max()) + 1
        key = key * len(column.values) + column.codes
        size *= len(column.values)
    return key


def firsts(ordered: Ints) -> Ints:
    """Where each run of equal numbers begins."""
    if len(ordered) == 0:
        return np.empty(0, dtype=np.int64)
    changes = np.empty(len(ordered), dtype=bool)
    changes[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    found: Ints = np.nonzero(changes)[0]
    return found


def run_numbers(first: Ints, size: int) -> Ints:
    """For each of `size` places the number of the run that it is in."""
    begins: Ints = np.zeros(size, dtype=np.int64)
    begins[first[1:]] = 1
    numbers: Ints = begins.cumsum()
    return numbers


def sums(numbers: Any, first: Ints) -> Any:
    """Sums of the runs that begin at `first`, along the last axis."""
    if len(first) == 0:
        return numbers[..., :0]
    return np.add.reduceat(numbers, first, axis=-1)
