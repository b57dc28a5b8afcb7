"""The Procfile's processes under honcho, stopped the way our services need it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from honcho import environ, manager
from honcho.printer import Printer

STOP_SECONDS = 9


class Manager(manager.Manager):  # type: ignore[misc]
    """honcho's manager, with two habits changed.

    A stop that comes before every process has started waits for that; honcho itself would lose
    the processes. And the time until SIGKILL counts from the stop on, not from the first process
    that has ended.
    """

    def __init__(self) -> None:
        super().__init__(Printer(sys.stdout, colour=sys.stdout.isatty()))
        self._told = False
        # honcho's own 5 s are less than a batch in hand may take.
        manager.KILL_WAIT = STOP_SECONDS

    def terminate(self) -> None:
        self._told = True
        if self._all_started():
            super().terminate()

    def _any_stopped(self) -> bool:
        return self._told or bool(super()._any_stopped())


def run_processes(
    commands: Mapping[str, str], env: Mapping[str, str], counts: Mapping[str, int]
) -> int:
    """Run `commands` until one ends or we are told to stop; returns the exit status, 0 if told.

    `counts` is processes by name, one where it says nothing. honcho would let `.env` win over the
    environment, so it is not asked to read it: every service does, by our own rule.
    """
    running = Manager()
    for process in environ.expand_processes(commands, concurrency=counts):
        running.add_process(process.name, process.cmd, env={**env, **process.env})
    running.loop()
    told = running.returncode in (130, 143)
    return 0 if told else int(running.returncode or 0)


def read_procfile(path: Path) -> Mapping[str, str]:
    processes: Mapping[str, str] = environ.parse_procfile(path.read_text()).processes
    return processes


def parse_counts(text: str) -> dict[str, int]:
    """`worker=3,ingest=2`; ValueError where it is not that."""
    pairs = (item.partition("=") for item in text.split(","))
    return {name.strip(): int(count) for name, _, count in pairs}
