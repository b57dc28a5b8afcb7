"""Traffic: what was written, added up by model, endpoint and backend.

A worker adds up each batch that it has written, and the broker adds that to its own sums in the
same step that acknowledges the batch. So they are of all workers together, outlive every process,
and count a batch once, however often it is delivered. query_api shows them as counters.
"""

from __future__ import annotations

import msgspec

Labels = tuple[str, str, str]
"""Model, endpoint, backend."""

UNKNOWN = "unknown"
"""The model of a request that named none."""
OTHER = "other"
"""The value of a label whose own value came after the bound was reached."""
MAX_LABEL = 128
"""Characters of a label; what is longer is cut."""

DURATION_BOUNDS_MS = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000)
"""Upper bounds of the buckets of durations, inclusive; one bucket more holds what is longer."""


class Sums(msgspec.Struct, array_like=True, gc=False):
    """Sums over requests: tokens in tokens, durations in ms. Another layout needs another key.

    `buckets` counts the durations of each bucket alone, not those below it.
    """

    requests: float = 0
    errors: float = 0
    unpriced: float = 0
    input_tokens: float = 0
    output_tokens: float = 0
    cached_tokens: float = 0
    cost: float = 0
    duration_ms: float = 0
    buckets: list[float] = msgspec.field(
        default_factory=lambda: [0] * (len(DURATION_BOUNDS_MS) + 1)
    )


Traffic = list[tuple[Labels, Sums]]
"""Sums by their labels, each labels once."""
