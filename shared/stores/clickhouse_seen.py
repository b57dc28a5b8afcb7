"""A Bloom filter of ids: what it does not know is certainly new.

Six bits an id of at least sixteen bits each: about 0.03 % of new ids are taken for known ones when
a layer is full. A full layer is followed by one of twice its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
_Bits = np.ndarray[Any, np.dtype[np.uint8]]

FIRST_CAPACITY = 1 << 18
_BITS_EACH = 16
_PROBES = 6


def hashes_of(ids: Iterable[str]) -> Hashes:
    """ClickHouse's halfMD5 of each id."""
    digests = [hashlib.md5(each.encode(), usedforsecurity=False).digest()[:8] for each in ids]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


class _Layer:
    def __init__(self, capacity: int) -> None:
        self.room = capacity
        self.capacity = capacity
        self._bits: _Bits = np.zeros(capacity * _BITS_EACH // 8, dtype=np.uint8)
        self._mask = np.uint64(capacity * _BITS_EACH - 1)

    def add(self, hashes: Hashes) -> None:
        self.room -= len(hashes)
        for place in self._places(hashes):
            np.bitwise_or.at(self._bits, place >> np.uint64(3), _bit(place))

    def among(self, hashes: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        found = np.ones(len(hashes), dtype=np.bool_)
        for place in self._places(hashes):
            found &= (self._bits[place >> np.uint64(3)] & _bit(place)) != 0
        return found

    def _places(self, hashes: Hashes) -> Iterable[Hashes]:
        # Two halves of a good hash make as many as are needed (Kirsch and Mitzenmacher, 2006).
        step = (hashes >> np.uint64(32)) | np.uint64(1)
        for probe in range(_PROBES):
            yield (hashes + np.uint64(probe) * step) & self._mask


def _bit(place: Hashes) -> _Bits:
    return np.left_shift(np.uint8(1), (place & np.uint64(7)).astype(np.uint8))


class Seen:
    """The ids that were added, and a few that were not. It forgets nothing."""

    def __init__(self) -> None:
        self._layers = [_Layer(FIRST_CAPACITY)]

    def add(self, hashes: Hashes) -> None:
        while len(hashes):
            layer = self._layers[-1]
            fitting, hashes = hashes[: layer.room], hashes[layer.room :]
            layer.add(fitting)
            if not layer.room:
                self._layers.append(_Layer(2 * layer.capacity))

    def among(self, hashes: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each hash whether it may have been added."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for layer in self._layers:
            found |= layer.among(hashes)
        return found
