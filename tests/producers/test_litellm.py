"""Real LiteLLM, in its own environment: what is counted here equals what LiteLLM reports."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Pipeline, wait_until
from tests.places import files_in, memory_of
from tests.producers.venvs import packages_of, python_with
from worker.price_file import load_prices

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CANARY = "cAnArY5d0e77"
CALLS = Path(__file__).with_name("litellm_calls.py")
PRICES = "litellm/model_prices_and_context_window_backup.json"
FORMATS = {"json_array": (200, 50, 50), "ndjson": (20, 5, 5), "single": (8, 3, 3)}
"""Successes, failures and streams that are posted in each form."""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with("litellm", "litellm>=1.110,<1.111")


class Run:
    """What LiteLLM reported, what was stored of it, and where a canary could be."""

    def __init__(self, folder: Path, python: Path, log_format: str) -> None:
        with Pipeline(folder, workers=0, LOG_LEVEL="debug") as pipeline:
            self.reported = call(python, pipeline, log_format)
            count = sum(FORMATS[log_format])
            wait_until(lambda: pipeline.backlog() == count, within=30, what="every call queued")
            self.places = {"memory while queued": memory_of(pipeline)}
            pipeline.start_worker()
            pipeline.wait_for_total(count)
            period = {"start": 1_700_000_000}
            self.aggregate = pipeline.get("aggregate", **period)
            self.events = pipeline.get("events", limit=1_000, **period)["events"]
            self.places["memory after writing"] = memory_of(pipeline)
        self.places["every file"] = files_in(folder)

    def sum(self, name: str) -> Any:
        return sum(call[name] for call in self.reported)


def call(python: Path, pipeline: Pipeline, log_format: str) -> list[dict[str, Any]]:
    """What LiteLLM reports of the calls that it made and posted."""
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    endpoint = f"{pipeline.ingest_url}/sources/litellm"
    counts = map(str, FORMATS[log_format])
    done = subprocess.run(
        [python, CALLS, endpoint, log_format, CANARY, *counts],
        env=environment,
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    reported: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return reported


@pytest.fixture(scope="module", params=list(FORMATS))
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, python: Path
) -> Run:
    return Run(tmp_path_factory.mktemp("litellm"), python, request.param)


def test_counts_tokens_cost_and_errors_equal_litellms_own(run: Run) -> None:
    found = run.aggregate
    failed = sum(call["status"] == "failure" for call in run.reported)

    assert found["total_requests"] == len(run.reported)
    assert found["failed_requests"] == failed > 0
    assert found["successful_requests"] == len(run.reported) - failed
    assert found["total_input_tokens"] == run.sum("prompt_tokens") > 0
    assert found["total_output_tokens"] == run.sum("completion_tokens") > 0
    assert found["total_cached_tokens"] == run.sum("cached_tokens") > 0
    assert found["total_cost"] == pytest.approx(run.sum("response_cost"), rel=1e-9)
    assert found["total_cost"] > 0
    assert found["unpriced_requests"] == 0
    assert found["models_used"] == Counter(call["model"] for call in run.reported)


def test_each_call_has_litellms_own_figures(run: Run) -> None:
    stored = {event["id"]: event for event in run.events}

    for call in run.reported:
        event = stored[f"{call['id']}:{call['status']}:{call['startTime']!r}"]
        usage = event["token_usage"] or {"prompt_tokens": 0, "completion_tokens": 0}
        assert event["request"]["stream"] == (call["stream"] is True)
        assert usage["prompt_tokens"] == call["prompt_tokens"]
        assert usage["completion_tokens"] == call["completion_tokens"]
        assert event["cost"]["total_cost"] == pytest.approx(call["response_cost"], rel=1e-9)
        duration = (call["endTime"] - call["startTime"]) * 1_000
        assert event["performance"]["duration_ms"] == pytest.approx(duration, abs=0.01)
        assert (event["performance"]["ttfb_ms"] is not None) == (call["stream"] is True)
        assert event["auth"]["api_key_label"].startswith("team-")
        cost = event["cost"]
        parts = cost["input_cost"] + cost["output_cost"] + (cost["cached_cost"] or 0.0)
        assert parts == pytest.approx(cost["total_cost"], rel=1e-9)


def test_errors_have_their_status_and_class(run: Run) -> None:
    failures = [event["response"] for event in run.events if not event["response"]["success"]]

    assert {(failure["status_code"], failure["error_message"]) for failure in failures} == {
        (500, "InternalServerError"),
        (429, "RateLimitError: vendor_rate_limit"),
    }


@pytest.mark.parametrize("place", ["memory while queued", "memory after writing", "every file"])
def test_the_canary_is_nowhere(run: Run, place: str) -> None:
    content = run.places[place]

    assert b"team-" in content or place == "memory after writing"
    at = content.find(CANARY.encode())
    assert at < 0, content[max(0, at - 300) : at + 100]


def test_every_model_of_litellms_price_file_loads(python: Path) -> None:
    file = packages_of(python) / PRICES
    listed = json.loads(file.read_bytes())
    del listed["sample_spec"]
    table = load_prices(file)

    assert len(table) == len(listed) > 4_000
    rate = "input_cost_per_token"
    by_the_token = {name: price for name, price in listed.items() if price.get(rate)}
    assert len(by_the_token) > 3_000
    for name, price in by_the_token.items():
        found = table.find(name)
        assert found is not None
        assert found.name == name
        per_million = price[rate] * 1e6
        assert found.price.input_per_million == pytest.approx(per_million, abs=1e-9)
        output = price.get("output_cost_per_token") or 0.0
        assert found.price.output_per_million == pytest.approx(output * 1e6, abs=1e-9)
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"):
        found = table.find(name)
        assert found is not None
        assert (found.price.input_per_million, found.price.output_per_million) == (0.15, 0.6)
