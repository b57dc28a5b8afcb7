"""The disk fills up in the middle of an append: nothing is torn, doubled or lost."""

from __future__ import annotations

import resource
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.harness import Pipeline, Service, batches, event, wait_until

ROOM = 2 * 1024 * 1024
EVENTS = 8_000
FIRST = 1_000
"""Events for which there is room."""


class Disk(ABC):
    """Where the store lives: it has `ROOM`, and more once `make_room` was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, worker: Service) -> None:  # noqa: B027  # a small file system needs no more
        """Called for each worker as it has started."""

    @abstractmethod
    def make_room(self, workers: list[Service]) -> None:
        """Let the store grow again."""


class SmallFilesystem(Disk):
    """A tmpfs of its own."""

    def make_room(self, workers: list[Service]) -> None:
        _run("mount", "-o", "remount,size=256m", str(self.folder))


class FileSizeLimit(Disk):
    """A bound on the size of the worker's files, which needs no right of anybody's."""

    def limit(self, worker: Service) -> None:
        self._set(worker, ROOM)

    def make_room(self, workers: list[Service]) -> None:
        for worker in workers:
            self._set(worker, resource.RLIM_INFINITY)

    def _set(self, worker: Service, size: int) -> None:
        limits = (size, resource.RLIM_INFINITY)
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_filesystem(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    if sys.platform != "linux" or not _mounted(folder):
        pytest.skip("mounting a file system is not allowed here; the other disk is a limit")
    try:
        yield SmallFilesystem(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def file_size_limit(folder: Path) -> Iterator[Disk]:
    folder.mkdir()
    yield FileSizeLimit(folder)


def _mounted(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def settings_of(store: str, folder: Path) -> dict[str, str]:
    if store == "jsonl":
        return {"JSONL_PATH": str(folder / "store.jsonl")}
    return {"SLED_PATH": str(folder / "store.db")}


@pytest.mark.long
@pytest.mark.parametrize("store", ["jsonl", "sqlite"])
@pytest.mark.parametrize("disk", [small_filesystem, file_size_limit])
def test_a_disk_that_fills_up_costs_no_event_and_no_worker(
    disk: Callable[[Path], AbstractContextManager[Disk]], store: str, folder: Path
) -> None:
    with disk(folder / "disk") as place:
        settings = settings_of(store, place.folder)
        with Pipeline(folder, workers=2, **settings) as pipeline:
            workers = pipeline.running("worker")
            for worker in workers:
                place.limit(worker)
            post(pipeline, range(FIRST))
            pipeline.wait_for_total(FIRST)

            post(pipeline, range(FIRST, EVENTS))
            wait_until(lambda: all(_says_away(w) for w in workers), within=20, what="no room")
            held = pipeline.total()
            require_whole(pipeline, held)
            assert FIRST <= held < EVENTS
            assert pipeline.backlog() >= EVENTS - held

            place.make_room(workers)

            pipeline.wait_for_total(EVENTS)
            wait_until(lambda: pipeline.backlog() == 0, what="an empty queue")
            require_whole(pipeline, EVENTS)
            assert pipeline.running("worker") == workers
            assert pipeline.get("dead-letters")["total"] == 0


def post(pipeline: Pipeline, numbers: range) -> None:
    for batch in batches(map(event, numbers), 500):
        assert pipeline.post(batch).status_code == 202


def _says_away(worker: Service) -> bool:
    return "the store is away" in worker.output()


def require_whole(pipeline: Pipeline, count: int) -> None:
    """The store holds `count` events: each once, each whole, and counted so."""
    figures = pipeline.get("aggregate", start=1_700_000_000, end=1_700_100_000)
    assert figures["total_requests"] == count
    assert figures["total_input_tokens"] == 10 * count
    path = pipeline.settings.get("JSONL_PATH")
    if path is not None:
        data = Path(path).read_bytes()
        ids = [msgspec.json.decode(line)["id"] for line in data.splitlines()]
        assert data.endswith(b"\n")
        assert len(ids) == len(set(ids)) == count
