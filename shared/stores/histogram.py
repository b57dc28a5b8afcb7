"""Histograms of durations: small, additive, and within 1 % of the exact percentiles.

Buckets are logarithmic. With the bounds of bucket i at γ^(i-1) and γ^i, its value 2γ^i / (γ+1) is
within α of any duration in it, where γ = (1+α) / (1-α): the DDSketch of Masson, Rim and Lee (VLDB
2019). Histograms add by adding counts, and take away by negative ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shared.stores.base import Latency

ALPHA = 0.01
_LOG_GAMMA = math.log((1 + ALPHA) / (1 - ALPHA))
_SMALLEST = 1e-3
_OFFSET = 1 - math.ceil(math.log(_SMALLEST) / _LOG_GAMMA)
_Ints = np.ndarray[Any, np.dtype[np.int64]]


def buckets_of(durations_ms: np.ndarray[Any, np.dtype[np.float64]]) -> _Ints:
    """The histogram bucket of each duration; 0 holds everything below a microsecond."""
    durations = np.maximum(durations_ms, _SMALLEST)
    buckets = np.ceil(np.log(durations) / _LOG_GAMMA).astype(np.int64) + _OFFSET
    return np.where(durations_ms < _SMALLEST, 0, buckets)


def value_of(bucket: int) -> float:
    """The duration in ms that stands for a bucket."""
    if bucket == 0:
        return 0.0
    return 2 * math.exp((bucket - _OFFSET) * _LOG_GAMMA) / (1 + math.exp(_LOG_GAMMA))


def latencies_of(group: _Ints, bucket: _Ints, count: _Ints, groups: int) -> list[Latency]:
    """The percentiles of `groups` histograms: `count` is in `bucket` of the histogram `group`."""
    order = np.argsort(group << 16 | bucket, kind="stable")
    cumulative = np.cumsum(count[order])
    stops = np.cumsum(np.bincount(group, minlength=groups))
    ends = np.concatenate([[0], cumulative])[stops]
    starts = np.concatenate([[0], ends[:-1]])
    found = []
    for p in (0.50, 0.90, 0.95, 0.99, 1.0):
        rank = np.maximum(1, np.ceil(p * (ends - starts))).astype(np.int64)
        place = np.minimum(np.searchsorted(cumulative, starts + rank), len(order) - 1)
        found.append([value_of(each) for each in bucket[order][place].tolist()])
    rows = zip(*found, strict=True)
    empty = (ends <= starts).tolist()
    return [
        Latency() if none else Latency(p50=a, p90=b, p95=c, p99=d, max=e)
        for none, (a, b, c, d, e) in zip(empty, rows, strict=True)
    ]
