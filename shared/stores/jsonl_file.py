"""Appending to the JSONL file, under a lock.

One event a line, appended, never reordered. Several processes share the file through a lock file
beside it. Whoever appends first reads what the others have written since, so that every process
knows the newest ids, and mends a last line that a power cut has torn.
"""

from __future__ import annotations

import fcntl
import glob
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared.events import Event
from shared.stores.jsonl_reader import (
    BLOCK,
    DECODE_FAILURES,
    decode_event,
    read_lines,
    unavailable_where_it_fails,
)

logger = logging.getLogger(__name__)


class _Id(msgspec.Struct, gc=False):
    id: str


_ids = msgspec.json.Decoder(_Id)
_encoder = msgspec.json.Encoder()
_sync = getattr(os, "fdatasync", os.fsync)


class IdWindow:
    """The newest `size` ids, in the order they came."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: set[str] = set()
        self._order: deque[str] = deque()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._known

    def add(self, event_id: str) -> None:
        if event_id in self._known:
            return
        self._known.add(event_id)
        self._order.append(event_id)
        if len(self._order) > self._size:
            self._known.remove(self._order.popleft())

    @property
    def known(self) -> AbstractSet[str]:
        return self._known

    def add_new(self, ids: Collection[str]) -> None:
        """Add ids that differ from one another and from all in the window."""
        self._known.update(ids)
        self._order.extend(ids)
        while len(self._order) > self._size:
            self._known.remove(self._order.popleft())

    def clear(self) -> None:
        self._known.clear()
        self._order.clear()


class Appender:
    """Appends events to the file, each id once among the newest `window` ids.

    Safe between threads and between processes of one machine.
    """

    def __init__(self, path: Path, *, window: int) -> None:
        self._path = path
        self._lock_path = Path(f"{path}.lock")
        self._window_size = window
        self._window = IdWindow(window)
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._lock_fd: int | None = None
        self._seen = 0
        """Every byte before this offset is in the window."""
        self._last_line = b""
        """The line that ends at `_seen`: proof that the file is still the one that was read."""

    def append(self, events: Sequence[Event]) -> int:
        """Write the events that are new and make them durable; returns how many were new."""
        with self.locked():
            fd = self._catch_up()
            fresh = self._fresh(events)
            if not fresh:
                return 0
            data = _encoder.encode_lines(list(fresh.values()))
            self._write(fd, data)
            self._window.add_new(fresh)
            self._last_line = data[data.rfind(b"\n", 0, -1) + 1 :]
            return len(fresh)

    def fresh_path(self) -> Path:
        """A name for what is to take the file's place, which no other writer has."""
        return self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.new")

    def replace(self, source: Path) -> None:
        """Put `source` in the file's place, durably. The caller holds the lock."""
        os.replace(source, self._path)
        self._sync_folder()

    def remove_leftovers(self) -> None:
        """Remove what was to take the file's place, its writer having died.

        For the holder of the lock and, unless the file has just been replaced, of the index's: a
        rewriting that goes on loses its file as well.
        """
        pattern = f"{glob.escape(self._path.name)}.{'[0-9a-f]' * 8}.new"
        for left in self._path.parent.glob(pattern):
            left.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file's lock against every other thread and process.

        Raises StoreUnavailable for any OSError, of the caller's too.
        """
        with self._mutex, unavailable_where_it_fails(self._path):
            lock = self._lock()
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _lock(self) -> int:
        """Lock the lock file, the one that has the name now: it may have been removed."""
        while True:
            if self._lock_fd is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            if _is_at(self._lock_fd, self._lock_path):
                return self._lock_fd
            os.close(self._lock_fd)
            self._lock_fd = None

    def close(self) -> None:
        with self._mutex:
            for fd in (self._fd, self._lock_fd):
                if fd is not None:
                    os.close(fd)
            self._fd = self._lock_fd = None

    def _fresh(self, events: Sequence[Event]) -> dict[str, Event]:
        """The events whose ids are new, by id; the first of an id wins."""
        fresh: dict[str, Event] = {}
        known = self._window.known
        for event in events:
            event_id = event.id
            if event_id not in known and event_id not in fresh:
                fresh[event_id] = event
        return fresh

    def _catch_up(self) -> int:
        """Open the file as it is now and take in what others have written to it."""
        fd = self._open()
        size = _mend_tail(fd, self._path)
        if not self._continues(fd, size):
            self._window.clear()
            self._seen = _start_of_last_lines(fd, size, self._window_size)
            self._last_line = b""
        if size > self._seen:
            for block in read_lines(fd, self._seen, size):
                self._last_line = self._take_ids(block)
            self._seen = size
        return fd

    def _open(self) -> int:
        if self._fd is not None:
            if _is_at(self._fd, self._path):
                return self._fd
            os.close(self._fd)
            self._fd = None
        self._seen, self._last_line = 0, b""
        self._window.clear()
        existed = self._path.exists()
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if not existed:
            self._sync_folder()
        return self._fd

    def _continues(self, fd: int, size: int) -> bool:
        """Whether the file still begins with what was read of it."""
        if self._seen == 0 or size < self._seen:
            return False
        length = len(self._last_line)
        return os.pread(fd, length, self._seen - length) == self._last_line

    def _take_ids(self, block: bytes) -> bytes:
        """Add the ids of a block of whole lines to the window; returns its last line."""
        try:
            ids = _ids.decode_lines(block)
        except DECODE_FAILURES:
            ids = [line for line in map(_decode_id, block.splitlines()) if line is not None]
        for entry in ids:
            self._window.add(entry.id)
        return block[block.rfind(b"\n", 0, len(block) - 1) + 1 :]

    def _write(self, fd: int, data: bytes) -> None:
        """Append `data` and sync it, or leave the file as it was and raise."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            _sync(fd)
        except OSError:
            os.ftruncate(fd, self._seen)
            raise
        self._seen += len(data)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def encode_line(event: Event) -> bytes:
    return _encoder.encode(event) + b"\n"


def _decode_id(line: bytes) -> _Id | None:
    try:
        return _ids.decode(line)
    except DECODE_FAILURES:
        return None


def _mend_tail(fd: int, path: Path) -> int:
    """End the file with a newline, cutting off a torn last line; returns its size then.

    Only a write that was never acknowledged can be torn, so nothing that counts is lost.
    """
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    start = _start_of_last_lines(fd, size, 1)
    tail = os.pread(fd, size - start, start)
    if decode_event(tail) is not None:
        os.write(fd, b"\n")
        logger.warning("last line ended, its newline was missing", extra={"path": str(path)})
        return size + 1
    os.ftruncate(fd, start)
    logger.warning("torn last line cut off", extra={"path": str(path), "bytes": size - start})
    return start


def _start_of_last_lines(fd: int, size: int, count: int) -> int:
    """The offset at which the last `count` lines of the first `size` bytes begin."""
    # The newline that ends the last line belongs to it.
    end = size - 1
    while end > 0:
        start = max(0, end - BLOCK)
        block = os.pread(fd, end - start, start)
        newlines = block.count(b"\n")
        if newlines >= count:
            cut = len(block)
            for _ in range(count):
                cut = block.rfind(b"\n", 0, cut)
            return start + cut + 1
        count -= newlines
        end = start
    return 0
