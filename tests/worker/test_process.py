"""Real worker processes: how they end, and what they outlive."""

import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.harness import (
    PREFIX,
    Pipeline,
    Service,
    batches,
    event,
    free_port,
    wait_until,
)

STOP_SECONDS = 10.0


@pytest.fixture
def idle(folder: Path) -> Iterator[Pipeline]:
    """A pipeline without any worker yet."""
    with Pipeline(folder, workers=0) as pipeline:
        yield pipeline


def post(pipeline: Pipeline, count: int, *, first: int = 0) -> None:
    for batch in batches(map(event, range(first, first + count)), 500):
        assert pipeline.post(batch).status_code == 202


def start_worker(pipeline: Pipeline) -> Service:
    """A worker that is in the group already."""
    worker = pipeline.start_worker()
    wait_until(lambda: '"consuming"' in worker.output(), what="a worker")
    return worker


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that neither runs nor ends, as on a machine that hangs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_sigterm_under_load_ends_a_worker_in_order_and_loses_nothing(idle: Pipeline) -> None:
    post(idle, 20_000)
    worker = start_worker(idle)
    wait_until(lambda: idle.backlog() < 20_000, what="some written")

    assert worker.terminate(within=STOP_SECONDS) == 0

    assert "Traceback" not in worker.output()
    post(idle, 1_000, first=20_000)
    start_worker(idle)
    idle.wait_for_total(21_000)


def test_sigterm_gives_the_batch_back_while_the_store_is_away(idle: Pipeline) -> None:
    store = idle.folder / "store.jsonl"
    store.mkdir()
    worker = start_worker(idle)
    post(idle, 1_000)
    wait_until(lambda: "the store is away" in worker.output())

    assert worker.terminate(within=STOP_SECONDS) == 0

    assert "entries given back" in worker.output()
    store.rmdir()
    start_worker(idle)
    # An entry that was not given back would be reclaimed after ten seconds only.
    idle.wait_for_total(1_000, within=8)


def test_sigterm_ends_a_worker_whose_append_hangs(idle: Pipeline) -> None:
    with open(idle.folder / "store.jsonl.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = start_worker(idle)
        post(idle, 500)
        wait_until(lambda: _is_writing(idle), what="an append")

        assert worker.terminate(within=STOP_SECONDS) == 1

        assert "did not end in time" in worker.output()
    start_worker(idle)
    idle.wait_for_total(500)


def test_sigterm_ends_a_worker_whose_broker_hangs(idle: Pipeline) -> None:
    worker = start_worker(idle)
    with stopped(idle.broker.pid):
        assert worker.terminate(within=STOP_SECONDS) == 0


def test_sigterm_ends_a_worker_whose_broker_is_gone(idle: Pipeline) -> None:
    worker = start_worker(idle)
    idle.broker.kill()
    wait_until(lambda: "arq stopped" in worker.output())

    assert worker.terminate(within=STOP_SECONDS) == 0


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(idle: Pipeline) -> None:
    idle.broker.stop()
    worker = start_worker(idle)
    wait_until(lambda: "the queue is away" in worker.output())
    idle.broker.start()

    post(idle, 10)

    idle.wait_for_total(10)
    assert worker.running


def test_a_worker_outlives_a_broker_restart_and_so_do_its_jobs(idle: Pipeline) -> None:
    worker = start_worker(idle)
    post(idle, 10)
    idle.wait_for_total(10)
    wait_until(lambda: _arq_is_alive(idle), what="arq")

    idle.broker.kill()
    wait_until(lambda: "arq stopped" in worker.output())
    idle.broker.start()
    with idle.redis() as client:
        client.delete("routiium:analytics:jobs:health-check")

    wait_until(lambda: _arq_is_alive(idle), what="arq again")
    post(idle, 10, first=10)
    idle.wait_for_total(20)
    assert worker.running
    assert "Traceback" not in worker.output()


def test_a_worker_outlives_a_flushed_broker(idle: Pipeline) -> None:
    worker = start_worker(idle)
    post(idle, 10)
    idle.wait_for_total(10)
    with idle.redis() as client:
        client.flushall()

    post(idle, 10, first=10)

    idle.wait_for_total(20)
    assert worker.running


def test_killed_processes_lose_nothing_and_count_nothing_twice(idle: Pipeline) -> None:
    """kill -9 of each in turn; the sender repeats, with the same ids, what got no 202."""
    idle.start_worker()
    idle.start_worker()
    for turn, kill in enumerate((_kill_ingest, _kill_broker, _kill_worker) * 2):
        numbers = range(turn * 2_000, (turn + 1) * 2_000)
        for position, batch in enumerate(batches(map(event, numbers), 100)):
            if position == 10:
                kill(idle)
            wait_until(lambda batch=batch: _accepted(idle, batch), within=30, what="a 202")  # type: ignore[misc]

    wait_until(lambda: idle.backlog() == 0, within=60, what="an empty queue")
    assert idle.total() == 12_000
    figures = idle.get("aggregate", start=1_700_000_000, end=1_700_100_000)
    assert figures["total_requests"] == 12_000
    assert figures["total_input_tokens"] == 120_000
    lines = (idle.folder / "store.jsonl").read_bytes().splitlines()
    assert len(lines) == 12_000


def test_the_worker_runs_under_the_command_line_of_arq_too(idle: Pipeline) -> None:
    command = [sys.executable, "-m", "arq", "worker.main.WorkerSettings"]
    worker = Service("arq", command, idle.env, idle.folder)
    idle.services.append(worker)
    post(idle, 10)
    idle.wait_for_total(10)

    assert worker.terminate(within=STOP_SECONDS) == 0, worker.output()
    assert "Traceback" not in worker.output()
    lines = worker.output().splitlines()
    # What arq says before it calls on_startup has arq's own form.
    begun = next(n for n, line in enumerate(lines) if '"consuming"' in line)
    loggers = {json.loads(line)["logger"] for line in lines[begun:]}
    assert {"worker.service", "arq.worker"} <= loggers


def test_every_wrong_setting_is_named_before_the_queue_is_joined(folder: Path) -> None:
    env = {
        PREFIX + "BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
        PREFIX + "TTL_SECONDS": "soon",
        PREFIX + "MAX_DEAD_LETTERS": "0",
    }
    worker = Service("worker", [sys.executable, "-m", "worker.main"], env, folder)

    assert worker.process.wait(20) != 0
    assert PREFIX + "TTL_SECONDS" in worker.output()
    assert PREFIX + "MAX_DEAD_LETTERS" in worker.output()
    assert "Traceback" not in worker.output()


def _is_writing(pipeline: Pipeline) -> bool:
    with pipeline.redis() as client:
        return any(client.scan_iter("routiium:analytics:writing:*"))


def _arq_is_alive(pipeline: Pipeline) -> bool:
    with pipeline.redis() as client:
        return bool(client.exists("routiium:analytics:jobs:health-check"))


def _accepted(pipeline: Pipeline, batch: list[object]) -> bool:
    try:
        return pipeline.post(batch).status_code == 202
    except httpx.TransportError:
        return False


def _kill_ingest(pipeline: Pipeline) -> None:
    [ingest] = pipeline.running("ingest")
    ingest.kill()
    pipeline.start_ingest()


def _kill_broker(pipeline: Pipeline) -> None:
    pipeline.broker.kill()
    pipeline.broker.start()


def _kill_worker(pipeline: Pipeline) -> None:
    pipeline.running("worker")[0].kill()
    pipeline.start_worker()
