"""Every line of docs/api.md, run against the services as a reader would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT, Pipeline, event

PAGE = (ROOT / "docs/api.md").read_text()
LINES = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
ANSWERS = {
    "/analytics/events -H": "accepted",
    "/analytics/events?": "events",
    "/analytics/top": "groups",
    "/analytics/aggregate": "total_cost",
    "/analytics/timeseries": "points",
    "/analytics/stats": "total_events",
    "/analytics/pipeline": "warnings",
    "/analytics/dead-letters/replay": "replayed",
    "/analytics/dead-letters": "dead_letters",
    "/analytics/clear": "success",
    "/healthz/": "status",
}
"""What a line asks, and a key of the JSON that it prints; the others write files or text."""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("api")) as running:
        now = int(time.time())
        data = running.folder / "data"
        data.mkdir()
        lines = [json.dumps(event(n, timestamp=now - n * 3_000)) + "\n" for n in range(40)]
        (data / "analytics.jsonl").write_text("".join(lines))
        running.post([event(n, timestamp=now - n * 3_000) for n in range(40)])
        running.wait_for_total(40)
        yield running


def _runnable(line: str, services: Pipeline, folder: Path) -> str:
    """The line with the addresses of `services`, failing where an answer is an error."""
    schedule = re.match(r"\d+ \d+ \* \* \* ", line)
    if schedule:
        line = line.removeprefix(schedule[0]).replace(r"\%", "%")
    now = int(time.time())
    line = line.replace("${__from:date:seconds}", str(now - 3_600))
    line = line.replace("${__to:date:seconds}", str(now))
    line = line.replace("http://127.0.0.1:8087", services.ingest_url)
    line = line.replace("http://127.0.0.1:8088", services.query_url)
    return re.sub(r"\bcurl ", "curl --fail-with-body -sS ", line, count=1)


@pytest.mark.parametrize("line", LINES)
def test_the_line_answers(services: Pipeline, folder: Path, line: str) -> None:
    (folder / "data").symlink_to(services.folder / "data")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", _runnable(line, services, folder)],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    written = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "data"]
    if written:
        assert written[0].stat().st_size > 100
    elif "/metrics" in line:
        assert "# TYPE routiium_" in done.stdout
    else:
        key = next(key for part, key in ANSWERS.items() if part in line)
        assert key in json.loads(done.stdout)


def test_the_page_has_a_line_for_every_endpoint_that_answers_questions(services: Pipeline) -> None:
    paths = services.http.get(f"{services.query_url}/openapi.json").json()["paths"]

    for path in (path for path in paths if path.startswith("/analytics/")):
        assert f":8088{path}" in PAGE, path
