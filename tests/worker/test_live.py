"""Liveness of a worker is progress: what `python -m worker.live` answers, and why."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.pipeline import WorkerState
from tests.harness import PREFIX, Pipeline, Service, clean_environment, event, free_port, wait_until
from worker.live import Verdict, ask, here, parse
from worker.naming import new_name, origin_of

HANG_SECONDS = 1.5
QUICK = {"announce_every": 0.2, "hold_for": 1.0, "reclaim_every": 0.2, "reclaim_idle_ms": 1_000}


@pytest.fixture
def idle(folder: Path) -> Iterator[Pipeline]:
    """A pipeline without any worker yet."""
    with Pipeline(folder, workers=0) as pipeline:
        yield pipeline


def paced(pipeline: Pipeline, name: str, pace: dict[str, Any], *options: str) -> Service:
    """A worker of its own pace; `hang` as an option lets its appends never return."""
    command = [sys.executable, "-m", "tests.worker.paced", json.dumps(pace), *options]
    worker = Service(name, command, pipeline.env, pipeline.folder)
    pipeline.services.append(worker)
    wait_until(lambda: judged(pipeline, "--pid", str(worker.process.pid)).alive, what=name)
    return worker


def live(env: dict[str, str], folder: Path, *options: str) -> tuple[int, str]:
    """What the probe answers: its exit status and its line."""
    probe = subprocess.run(
        [sys.executable, "-m", "worker.live", *options],
        env=clean_environment(env),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Traceback" not in probe.stderr
    [line] = (probe.stdout or probe.stderr).splitlines()
    return probe.returncode, line


def worker(name: str, started: float) -> WorkerState:
    return WorkerState(
        name=name,
        started=started,
        at=started,
        seconds_since_progress=0.0,
        last_entry=None,
        written=0,
        duplicates=0,
        trouble=None,
        alive=True,
    )


def judged(pipeline: Pipeline, *options: str) -> Verdict:
    """The same without a process of its own, soon after a worker hangs."""
    return ask(pipeline.broker.url, parse([*options, "--seconds", str(HANG_SECONDS)]))


def probe(pipeline: Pipeline, *options: str) -> tuple[int, str]:
    return live(pipeline.env, pipeline.folder, *options)


def test_a_hung_append_is_not_alive_and_another_worker_takes_its_entries_over(
    idle: Pipeline,
) -> None:
    hung = paced(idle, "hung", QUICK, "hang")
    pid = str(hung.process.pid)
    idle.post([event(n) for n in range(500)])
    wait_until(lambda: "appending" in hung.output(), what="an append")
    began = time.monotonic()
    wait_until(lambda: idle.get("pipeline")["workers"][0]["trouble"], what="its trouble")
    time.sleep(max(0.0, HANG_SECONDS - (time.monotonic() - began)))

    status, line = probe(idle, "--pid", pid, "--seconds", str(HANG_SECONDS))

    assert status == 1
    assert line.startswith("not alive: 500 events wait and ")
    assert "an append has not returned for" in line
    good = paced(idle, "good", QUICK)
    idle.wait_for_total(500)
    assert judged(idle, "--pid", str(good.process.pid)).alive
    assert not judged(idle, "--pid", pid).alive
    assert not judged(idle).alive, "one of this machine's workers hangs"
    assert judged(idle, "--any").alive
    good.kill()
    assert judged(idle, "--pid", str(good.process.pid)).why.startswith("no process ")


def test_a_worker_that_was_killed_is_no_concern_of_its_successor(idle: Pipeline) -> None:
    assert judged(idle).why == "0 events wait and the queue knows no such worker"
    paced(idle, "first", QUICK).kill()
    second = paced(idle, "second", QUICK)

    status, line = probe(idle)

    assert status == 0, line
    assert line.startswith("alive: 0 events wait, last progress ")
    assert len(idle.get("pipeline")["workers"]) == 2
    assert second.terminate() != 0  # It handles no signal.


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_the_worker_of_a_process_is_told_from_others_of_its_host_and_number() -> None:
    """A predecessor in this container, and one in another that shares the machine's name."""
    now = time.time()
    mine, elsewhere = new_name(), f"elsewhere-{os.getpid()}-a1b2c3"
    before, own, other = (worker(new_name(), at) for at in (now - 86_400 * 365, now, now + 60))

    assert here([other, own, before, worker(elsewhere, now)]) == [own]
    assert here([before]) == []
    assert here([own], pid=os.getpid() + 1) == []
    assert here([worker(mine.replace(str(os.getpid()), "4194305"), now)]) == []


def test_a_broker_that_is_away_is_no_reason_to_end_a_worker(folder: Path) -> None:
    env = {PREFIX + "BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}

    status, line = live(env, folder)

    assert status == 0
    assert line.startswith("alive: the broker is away (")


def test_wrong_settings_are_named(folder: Path) -> None:
    status, line = live({PREFIX + "BROKER_URL": "http://nowhere"}, folder)
    assert status == 1
    assert PREFIX + "BROKER_URL" in line


def test_a_name_tells_machine_and_process() -> None:
    assert origin_of(new_name()) == (socket.gethostname(), os.getpid())
    assert origin_of("a-host-with-dashes-12-a1b2c3") == ("a-host-with-dashes", 12)
    for other in ("one", "a-b", "-1-a", "host-x-abc"):
        assert origin_of(other) is None


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_hung_append_is_noticed_within_a_minute_and_its_entries_taken_over(
    idle: Pipeline,
) -> None:
    """The same with the times that a worker really has."""
    hung = paced(idle, "hung", {}, "hang")
    pid = str(hung.process.pid)
    idle.post([event(n) for n in range(500)])
    wait_until(lambda: "appending" in hung.output(), what="an append")
    began = time.monotonic()
    good = idle.start_worker()
    seen: dict[str, float] = {}

    def both_seen() -> bool:
        if "not alive" not in seen and probe(idle, "--pid", pid)[0] == 1:
            seen["not alive"] = time.monotonic() - began
            print(probe(idle, "--pid", pid)[1])
        if "taken over" not in seen and idle.total() == 500:
            seen["taken over"] = time.monotonic() - began
        return len(seen) == 2

    wait_until(both_seen, within=120, what="both")
    print({what: round(seconds, 1) for what, seconds in seen.items()})
    # The probes take their time too.
    assert seen["not alive"] < 70
    assert seen["taken over"] < 90
    assert probe(idle, "--pid", str(good.process.pid))[0] == 0
