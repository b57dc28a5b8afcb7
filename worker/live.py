"""Whether the workers of this machine are alive: `python -m worker.live`.

Alive means progress, not a running process. Exit status 0 where every worker that runs on this
machine has made progress within a minute, 1 where one has not or none is known; one line says why.
`--pid` looks at the worker of that process alone, `--any` asks for one worker anywhere.

A broker that is away is no reason to end a worker: it waits by itself, and its successor would do
the same. So the answer is 0 then.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from shared.errors import QueueUnavailable, SettingsError
from shared.pipeline import STALLED_SECONDS, PipelineState, WorkerState
from shared.queue_admin import QueueAdmin
from shared.settings import load_settings

from worker.naming import origin_of

TIMEOUT_SECONDS = 3.0


class Verdict(NamedTuple):
    """Whether it is alive, and the line that says why."""

    alive: bool
    why: str


def judge(state: PipelineState, workers: list[WorkerState], *, one_is_enough: bool) -> Verdict:
    """The verdict on these workers, which are all or some of the state's."""
    if not workers:
        return Verdict(False, f"{_waiting(state)} and the queue knows no such worker")
    stalled = [worker for worker in workers if not worker.alive]
    if not stalled or (one_is_enough and len(stalled) < len(workers)):
        latest = min(worker.seconds_since_progress for worker in workers)
        return Verdict(True, f"{_waiting(state)}, last progress {latest:.1f} s ago")
    return Verdict(False, f"{_waiting(state)} and {'; '.join(map(_stalled, stalled))}")


def _waiting(state: PipelineState) -> str:
    return f"{state.backlog} events wait"


def _stalled(worker: WorkerState) -> str:
    since = f"{worker.name} has made no progress for {worker.seconds_since_progress:.0f} s"
    return f"{since}: {worker.trouble}" if worker.trouble else since


def here(workers: list[WorkerState], pid: int | None = None) -> list[WorkerState]:
    """The workers that run on this machine, or the one of process `pid`.

    A process that ended in a crash leaves its worker's name behind, and its id may be another's.
    """
    named: defaultdict[int, list[WorkerState]] = defaultdict(list)
    for worker in sorted(workers, key=lambda worker: worker.started):
        origin = origin_of(worker.name)
        if origin is not None and origin.host == socket.gethostname():
            named[origin.pid].append(worker)
    chosen = (_of_process(number, named[number]) for number in named if pid in (None, number))
    return [worker for worker in chosen if worker is not None]


def _of_process(pid: int, named: list[WorkerState]) -> WorkerState | None:
    """Which of the workers named so, the oldest first, runs in the process that has this id now."""
    if not runs(pid):
        return None
    began = _began(pid)
    if began is None:
        return named[-1]
    # Containers that share the machine's name have workers of the same id, each with its own start.
    return next((worker for worker in named if worker.started >= began - 1), None)


def runs(pid: int) -> bool:
    """Whether a process of this id runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _began(pid: int) -> float | None:
    """When a process began, in Unix seconds; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def ask(broker_url: str, options: argparse.Namespace) -> Verdict:
    """Ask the broker for the verdict."""
    if options.pid is not None and not runs(options.pid):
        return Verdict(False, f"no process {options.pid} runs here")
    admin = QueueAdmin.from_url(broker_url, timeout=TIMEOUT_SECONDS)
    try:
        state = admin.state(stalled_seconds=options.seconds)
    except QueueUnavailable as error:
        return Verdict(True, f"the broker is away ({error}), and a worker waits for it by itself")
    finally:
        admin.close()
    workers = state.workers if options.any else here(state.workers, options.pid)
    return judge(state, workers, one_is_enough=options.any)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m worker.live",
        description="Exit status 0 where the workers of this machine make progress, else 1.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, help="the worker of this process alone")
    which.add_argument("--any", action="store_true", help="one worker anywhere is enough")
    parser.add_argument(
        "--seconds",
        type=float,
        default=STALLED_SECONDS,
        help="without progress for so long is not alive (default %(default).0f)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        verdict = ask(load_settings().broker_url, options)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))
    print(f"{'alive' if verdict.alive else 'not alive'}: {verdict.why}")
    return 0 if verdict.alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
