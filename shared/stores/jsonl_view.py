"""What a process knows of the JSONL file: its index, and the tail that has none yet, in memory.

All of it is checked against the file before each answer, and read anew where it does not hold.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StoreUnavailable
from shared.stores.jsonl_builder import Builder, IndexPolicy
from shared.stores.jsonl_engine import Engine, IndexUnreadable, Session
from shared.stores.jsonl_reader import Malformed, decode_event, open_for_reading, read_lines
from shared.stores.jsonl_rows import CREATE_TAIL, RowFile
from shared.stores.jsonl_segments import Generation, Index, Mark, Segment, holds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows with their offsets from `start`: a segment, or the tail where `path` is None.

    `summary` is the path of the segment's summary.
    """

    start: int
    path: str | None
    oldest: int
    newest: int
    rows: int
    summary: str | None = None

    @property
    def source(self) -> str:
        """What to select from; `named` holds its parameter."""
        return "tail" if self.path is None else "read_parquet($path)"

    @property
    def named(self) -> dict[str, object]:
        return {} if self.path is None else {"path": self.path}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The file at one moment: every row of its first `end` bytes is in one of the parts.

    Without the tail `end` is where the index ends; `size` is that of the file.
    """

    fd: int
    end: int
    size: int
    parts: Sequence[Part]
    session: Session
    generation: Generation
    segments: tuple[Segment, ...]

    def parts_of(self, start: int, end: int) -> list[Part]:
        """The parts that may hold a timestamp from `start` to `end`."""
        return [part for part in self.parts if part.oldest <= end and part.newest >= start]


class _Tail:
    """The rows past the index, in the table `tail`, from `start` to `end`."""

    def __init__(self, start: int = 0) -> None:
        self.start = self.end = start
        self.rows = self.malformed = 0
        self.times = (2**62, -(2**62))
        self._first: Mark | None = None
        self._last: Mark | None = None

    def holds(self, fd: int, size: int) -> bool:
        """Whether the file still has what was read of it."""
        marks = (self._first, self._last)
        return size >= self.end and all(mark is None or mark.holds(fd) for mark in marks)

    def extend(self, fd: int, size: int, engine: Engine) -> None:
        """Read what is new since the last time."""
        if size == self.end:
            return
        end, first, last = self.end, self._first, self._last
        with RowFile(engine.folder) as rows:
            for block in read_lines(fd, end, size):
                whole = _readable(block)
                if whole:
                    rows.add(whole, end)
                    first = first or Mark.of_start(whole, end)
                    end += len(whole)
                    last = Mark.of_end(whole, end)
            with engine.session() as session:
                rows.insert_into_tail(session)
        self.end, self._first, self._last = end, first, last
        self.rows += rows.rows
        self.malformed += rows.malformed
        self.times = min(self.times[0], rows.times[0]), max(self.times[1], rows.times[1])


def _readable(block: bytes) -> bytes:
    """A block without its last line, where that is not whole: it may be on its way."""
    cut = block.rfind(b"\n") + 1
    return block if decode_event(block[cut:]) is not None else block[:cut]


class View:
    """The file as this process sees it, brought up to date before each answer.

    Safe between threads: a snapshot keeps its rows, its segments and its file, whatever comes.
    """

    def __init__(self, path: Path, engine: Engine, policy: IndexPolicy) -> None:
        self._path = path
        self._engine = engine
        self._policy = policy
        self.index = Index(path.with_name(path.name + ".index"))
        self._builder = Builder(path, engine, policy)
        self._malformed = Malformed(path)
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._segments: tuple[Segment, ...] = ()
        self._tail = _Tail()

    @contextmanager
    def snapshot(self, *, tail: bool = True) -> Iterator[Snapshot | None]:
        """The file as it is now; None where there is none."""
        with self._engine.session() as session:
            with self._mutex:
                snapshot = self._take(session, tail=tail) if self._open() else None
            try:
                yield snapshot
            finally:
                if snapshot is not None:
                    os.close(snapshot.fd)

    def maintain(self) -> bool:
        """Index the next slice of the file; returns whether more waits."""
        try:
            return self._builder.work(self.index, wait=False)
        except IndexUnreadable as error:
            raise StoreUnavailable(f"{self.index.root}: {error}") from error

    def discard(self, reason: str) -> None:
        """Throw the index away and forget what was read."""
        with self._mutex:
            if self._fd is not None:
                self.index.of(self._fd).discard(reason)
            self._forget()

    def close(self) -> None:
        with self._mutex:
            self._forget()

    def _forget(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._stamp, self._segments = None, None, ()

    def _open(self) -> bool:
        """Open the file that has the name now; returns whether there is one."""
        try:
            if self._fd is not None and not _same_file(self._fd, self._path):
                self._forget()
            if self._fd is None:
                self._fd = open_for_reading(self._path)
                self._empty_tail(0)
        except FileNotFoundError:
            self._forget()
            self.index.keep_only(None)
            return False
        return True

    def _read_tail(self) -> None:
        assert self._fd is not None
        fd, size = self._fd, os.fstat(self._fd).st_size
        if size - self._covered > self._policy.most_unindexed:
            self._build(fd)
            size = os.fstat(fd).st_size
        if self._tail.start != self._covered or not self._tail.holds(fd, size):
            self._empty_tail(self._covered)
        self._tail.extend(fd, size, self._engine)
        self._malformed.report(
            sum(segment.malformed for segment in self._segments) + self._tail.malformed
        )

    def _load_segments(self, fd: int) -> None:
        generation = self.index.of(fd)
        stamp = generation.stamp()
        if stamp != self._stamp:
            self._segments = generation.load(fd)
            self._stamp = generation.stamp()
        elif not holds(self._segments, fd):
            generation.discard("the file has changed")
            self._segments, self._stamp = (), None

    def _build(self, fd: int) -> None:
        """Index all there is, for it does not fit into memory."""
        if not self.index.writable():
            logger.warning("index kept for this process", extra={"reason": "folder not writable"})
            self.index = Index(self._engine.folder)
        try:
            while self._builder.work(self.index, wait=True):
                pass
        except IndexUnreadable as error:
            raise StoreUnavailable(f"{self.index.root}: {error}") from error
        self._load_segments(fd)

    def _empty_tail(self, start: int) -> None:
        with self._engine.session() as session:
            session.rows(CREATE_TAIL)
        self._tail = _Tail(start)

    @property
    def _covered(self) -> int:
        return self._segments[-1].end if self._segments else 0

    def _take(self, session: Session, *, tail: bool) -> Snapshot:
        assert self._fd is not None
        self._load_segments(self._fd)
        if tail:
            self._read_tail()
        # The transaction begins with its first look, and sees no more than what is there then.
        session.rows("BEGIN")
        session.rows("SELECT count(*) FROM tail")
        generation = self.index.of(self._fd)
        parts = [_part(generation, segment) for segment in self._segments if segment.rows]
        if tail:
            parts.append(Part(0, None, *self._tail.times, self._tail.rows))
        return Snapshot(
            fd=os.dup(self._fd),
            end=self._tail.end if tail else self._covered,
            size=os.fstat(self._fd).st_size,
            parts=parts,
            session=session,
            generation=generation,
            segments=self._segments,
        )


def _part(generation: Generation, segment: Segment) -> Part:
    return Part(
        segment.start,
        str(generation.path(segment)),
        segment.oldest,
        segment.newest,
        segment.rows,
        str(generation.summary_path(segment)),
    )


def _same_file(fd: int, path: Path) -> bool:
    return os.path.samestat(os.stat(path), os.fstat(fd))
