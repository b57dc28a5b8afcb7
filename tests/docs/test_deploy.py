"""What docs/deploy.md says of moving from one store to another, done."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.client.commands import CommandLine
from tests.harness import ROOT, Pipeline, event

PAGE = (ROOT / "docs/deploy.md").read_text()
FOUND = re.search(r"GET (/analytics/export\?\S+)`", PAGE)
COST = {"input_cost": 1.0, "output_cost": 2.0, "total_cost": 3.5, "pricing_model": "ours"}
KEPT = ("total_requests", "total_input_tokens", "total_output_tokens", "total_cost")


def test_what_is_exported_and_imported_adds_up_to_the_same(
    pipeline: Pipeline,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert FOUND is not None
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    pipeline.post([event(1), event(2, cost=COST), event(3, timestamp=int(time.time()))])
    pipeline.wait_for_total(3)
    whole = {"start": 0, "end": int(time.time()) + 60}
    before = pipeline.get("aggregate", **whole)

    exported = folder / "events.ndjson"
    exported.write_bytes(pipeline.http.get(pipeline.query_url + FOUND[1]).content)
    assert pipeline.http.post(f"{pipeline.query_url}/analytics/clear").status_code == 200
    CommandLine(capsys).good("import", str(exported), "--ingest-url", pipeline.ingest_url)
    pipeline.wait_for_total(3)

    after = pipeline.get("aggregate", **whole)
    assert before["total_requests"] == 3
    assert after["total_cost"] > COST["total_cost"]
    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}
