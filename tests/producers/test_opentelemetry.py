"""Real OpenTelemetry exporters and instrumentations, in their own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Pipeline, wait_until
from tests.places import files_in, memory_of
from tests.producers.venvs import python_with

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CANARY = "cAnArY0be1e5"
CALLS = Path(__file__).with_name("otel_calls.py")
PROMPT, COMPLETION = 120, 45
CONTENT = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}
LATEST = {
    **CONTENT,
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
}


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with(
        "opentelemetry",
        "opentelemetry-sdk>=1.30,<2",
        "opentelemetry-exporter-otlp-proto-http>=1.30,<2",
        # Its 2.4 needs what later versions of the utilities have dropped.
        "opentelemetry-instrumentation-openai-v2==2.4b0",
        "opentelemetry-util-genai==0.4b0",
        "openinference-instrumentation-openai",
        "openai>=2,<4",
        "httpx",
    )


def trace(
    python: Path, pipeline: Pipeline, producer: str, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """What the producer says of its calls, whose spans it has exported."""
    endpoint = f"{pipeline.ingest_url}/v1/traces"
    done = subprocess.run(
        [python, CALLS, endpoint, producer, CANARY],
        env={**os.environ, **environment},
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Failed to export" not in done.stderr
    calls: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return calls


@pytest.mark.parametrize(
    ("producer", "environment"),
    [("by hand", {}), ("openai-v2", CONTENT), ("openai-v2", LATEST), ("openinference", {})],
    ids=["by hand", "openai-v2", "openai-v2 latest", "openinference"],
)
def test_each_model_call_is_counted_once_with_its_figures(
    python: Path, tmp_path: Path, producer: str, environment: dict[str, str]
) -> None:
    with Pipeline(tmp_path, workers=0, LOG_LEVEL="debug") as pipeline:
        calls = trace(python, pipeline, producer, environment)
        wait_until(lambda: pipeline.backlog() >= len(calls), within=30, what="every span queued")
        queued = memory_of(pipeline)
        pipeline.start_worker()
        pipeline.wait_for_total(len(calls))
        found = pipeline.get("events", start=1_600_000_000, order="asc")["events"]
    kept = files_in(tmp_path)

    assert sorted(map(summary, found)) == sorted(map(expected, calls))
    if producer == "openinference":
        assert sum(event["request"]["stream"] for event in found) == 1
    for name, content in (("queue", queued), ("files", kept)):
        assert b"gpt-4o" in content
        assert CANARY.encode() not in content, name
    took = sorted(event["performance"]["duration_ms"] / 1_000 for event in found)
    for measured, told in zip(took, sorted(call["seconds"] for call in calls), strict=True):
        assert 0.04 < measured <= told + 0.001


def summary(event: dict[str, Any]) -> tuple[Any, ...]:
    usage = event["token_usage"]
    return (
        event["request"]["model"],
        event["routing"]["backend"],
        event["response"]["status_code"],
        (usage["prompt_tokens"], usage["completion_tokens"]) if usage else (0, 0),
    )


def expected(call: dict[str, Any]) -> tuple[Any, ...]:
    used = (PROMPT, COMPLETION) if call["status"] == 200 else (0, 0)
    return call["model"], "openai", call["status"], used
