"""The dashboards' benchmark runs on both stores, with far too little to say anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.dashboards import STORES, measure, percentile, section


@pytest.mark.long
@pytest.mark.parametrize("name", STORES)
def test_dashboards_are_answered_while_events_are_written(name: str, tmp_path: Path) -> None:
    waits = measure(name, tmp_path, 2_000, 2.0)

    assert len(waits.aggregate) == len(waits.timeseries) == 2 * 16
    assert waits.p95 > 0
    assert f"| {name}: p95 of 16 dashboards |" in section({name: waits}, 2_000, 2.0)


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentile([float(n) for n in range(1, 101)], 95) == 95
    assert percentile([3.0, 1.0], 95) == 3
