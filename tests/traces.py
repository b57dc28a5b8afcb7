"""Real traffic as events: the Azure LLM inference traces of November 2023 (CC BY 4.0, Microsoft).

The traces are not part of this repository. They are looked for in `shared/data` beside it; where
they are not there, the tests that need them are skipped by name, except in CI, where they fail.

`replay_with_a_crash` is one scenario for any store that services share,
`replay_with_a_kill_of_all` for one that lives in one process.
`EXPECTED` are the traces' own figures.
"""

from __future__ import annotations

import csv
import gzip
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from tests.harness import ROOT, OneProcess, Pipeline, Service, batches, wait_until

FOLDER = ROOT.parent / "shared" / "data"
ENDPOINTS = {"code": "/v1/completions", "conv": "/v1/chat/completions"}
RANGE = {"start": "2023-11-16T18:00:00Z", "end": "2023-11-16T20:00:00Z"}
REQUESTS = 28_185
EXPECTED: Mapping[str, Any] = {
    "total_requests": REQUESTS,
    "successful_requests": REQUESTS,
    "failed_requests": 0,
    "total_input_tokens": 40_421_844,
    "total_output_tokens": 4_334_561,
    "models_used": {"code": 8_819, "conv": 19_366},
    "endpoints_hit": {"/v1/completions": 8_819, "/v1/chat/completions": 19_366},
}
BATCH = 500
JSON = {"Content-Type": "application/json"}


def require_traces() -> None:
    """Skip the test, by name, where the traces are absent; fail in CI."""
    if all(_path(model).exists() for model in ENDPOINTS):
        return
    message = f"the Azure LLM inference traces are not in {FOLDER}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def trace_events() -> Iterator[dict[str, Any]]:
    """Every request of both traces as an event."""
    for model in ENDPOINTS:
        with open(_path(model), newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                yield _event(model, number, row)


def post_trace(pipeline: Pipeline, events: list[dict[str, Any]]) -> None:
    """Post `events` in batches: JSON, every third one gzipped, every fifth one msgpack."""
    for number, batch in enumerate(batches(events, BATCH)):
        content, headers = _encode(number, batch)
        answer = pipeline.post(None, content=content, headers=headers)
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"accepted": len(batch), "rejected": []}


def assert_figures(pipeline: Pipeline) -> None:
    """The aggregate over the traces' two hours is exactly what the traces hold."""
    figures = pipeline.get("aggregate", **RANGE)
    assert {name: figures[name] for name in EXPECTED} == EXPECTED


def replay_with_a_crash(pipeline: Pipeline) -> None:
    """Post the traces, kill a worker over a backlog, replace it, post all again: figures hold.

    `pipeline` runs with three workers, on any store.
    """
    events = list(trace_events())
    half = len(events) // 2
    post_trace(pipeline, events[:half])
    with _frozen(pipeline.running("worker")) as workers:
        post_trace(pipeline, events[half:])
        assert pipeline.backlog() > 0
        workers[0].kill()
    pipeline.start_worker()
    _expect_each_once(pipeline)

    post_trace(pipeline, events)
    _expect_each_once(pipeline)


def replay_with_a_kill_of_all(pipeline: OneProcess) -> None:
    """Post half of the traces, kill everything over a backlog, start again, post all twice."""
    events = list(trace_events())
    post_trace(pipeline, events[: len(events) // 2])
    while not _killed_over_a_backlog(pipeline):
        post_trace(pipeline, events[:BATCH])
    pipeline.start_services()
    pipeline.wait_ready()

    for _ in range(2):
        post_trace(pipeline, events)
        _expect_each_once(pipeline)


def _expect_each_once(pipeline: Pipeline) -> None:
    wait_until(lambda: pipeline.backlog() == 0, within=60, what="an empty queue")
    assert pipeline.total() == REQUESTS
    assert_figures(pipeline)


def _killed_over_a_backlog(pipeline: OneProcess) -> bool:
    """Kill the process, unless it has written all that it has accepted: then let it go on."""
    (service,) = pipeline.running("all")
    os.killpg(service.process.pid, signal.SIGSTOP)
    if waiting := pipeline.backlog() > 0:
        service.kill()
    else:
        os.killpg(service.process.pid, signal.SIGCONT)
    return waiting


@contextmanager
def _frozen(workers: list[Service]) -> Iterator[list[Service]]:
    """Stop the workers where they are, and let those that still live go on."""
    for worker in workers:
        worker.process.send_signal(signal.SIGSTOP)
    try:
        yield workers
    finally:
        for worker in workers:
            if worker.running:
                worker.process.send_signal(signal.SIGCONT)


def _path(model: str) -> Path:
    return FOLDER / f"azure_llm_2023_{model}.csv"


def _event(model: str, number: int, row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": f"{_path(model).name}:{number}",
        "timestamp": row["TIMESTAMP"].replace(" ", "T") + "Z",
        "request": {"endpoint": ENDPOINTS[model], "model": model},
        "response": {"status_code": 200},
        "token_usage": {
            "prompt_tokens": int(row["ContextTokens"]),
            "completion_tokens": int(row["GeneratedTokens"]),
        },
    }


def _encode(number: int, batch: list[dict[str, Any]]) -> tuple[bytes, dict[str, str]]:
    if number % 5 == 4:
        return msgpack.packb(batch), {"Content-Type": "application/msgpack"}
    body = msgspec.json.encode(batch)
    if number % 3 == 2:
        return gzip.compress(body, compresslevel=1), {**JSON, "Content-Encoding": "gzip"}
    return body, JSON
