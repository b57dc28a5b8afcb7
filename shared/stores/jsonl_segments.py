"""The index beside the JSONL file: Parquet segments, each of a range of the file's bytes.

    analytics.jsonl.index/lock                   held by whoever builds
    analytics.jsonl.index/<inode>/manifest.json  which segments there are, in the file's order
    analytics.jsonl.index/<inode>/<name>.parquet the rows of one
    analytics.jsonl.index/<inode>/<name>.summary the same added up (`jsonl_summary`), in Parquet

The index is a cache. What it says counts only while the file has the bytes that were indexed: a
segment is stamped with digests of the first and last bytes of its range. Where they don't hold,
the file was truncated or written over, and the index is thrown away. So it is where a file has
another's name, for the folder bears the file's inode. An edit in the middle of a line that was
indexed, in place and without a change of length, is not noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the manifest and the rows; an index of another format is thrown away."""

_MARK_BYTES = 4_096
_MANIFEST = "manifest.json"


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What the file has at a place."""

    offset: int
    length: int
    digest: str

    @classmethod
    def of_start(cls, data: bytes, offset: int) -> Mark:
        """The mark of the first of `data`, which begins at `offset`."""
        part = data[:_MARK_BYTES]
        return cls(offset, len(part), _digest(part))

    @classmethod
    def of_end(cls, data: bytes, end: int) -> Mark:
        """The mark of the last of `data`, which ends at `end`."""
        part = data[-_MARK_BYTES:]
        return cls(end - len(part), len(part), _digest(part))

    def holds(self, fd: int) -> bool:
        """Whether the file still has it."""
        return _digest(os.pread(fd, self.length, self.offset)) == self.digest

    def moved(self, by: int) -> Mark:
        return Mark(self.offset + by, self.length, self.digest)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A range of the file, `start` ≤ offset < `end`, that ends with a line, and its rows.

    The rows' offsets count from `start`. `name` is empty where there are no rows.
    """

    start: int
    end: int
    rows: int
    malformed: int
    first: Mark
    last: Mark
    name: str = ""
    size: int = 0
    summary_size: int = 0
    oldest: int = 0
    newest: int = 0

    def holds(self, fd: int) -> bool:
        return self.first.holds(fd) and self.last.holds(fd)


class _Manifest(msgspec.Struct, gc=False):
    format: int
    segments: list[Segment]


class Index:
    """The folder of the index, and the lock under which it is built."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, fd: int) -> Generation:
        """The index of an open file."""
        return Generation(self.root / str(os.fstat(fd).st_ino))

    @contextmanager
    def locked(self, *, wait: bool) -> Iterator[bool]:
        """Hold the builders' lock; gives False where another holds it and `wait` is False."""
        self.root.mkdir(exist_ok=True)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield _take(lock, wait=wait)
        finally:
            os.close(lock)

    def writable(self) -> bool:
        try:
            with self.locked(wait=False):
                return True
        except OSError:
            return False

    def keep_only(self, generation: Generation | None) -> None:
        """Remove the index of every other file."""
        with suppress(OSError):
            for folder in self.root.iterdir():
                if folder.is_dir() and (generation is None or folder != generation.folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _take(lock: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


class Generation:
    """The index of one file, told from others by its inode."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = folder / _MANIFEST

    def stamp(self) -> tuple[int, int, int] | None:
        """Changes whenever the index does; None where there is none."""
        try:
            found = self._manifest.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def load(self, fd: int) -> tuple[Segment, ...]:
        """The segments, or none where the index is not that of the file as it is."""
        try:
            manifest = msgspec.json.decode(self._manifest.read_bytes(), type=_Manifest)
            segments = tuple(manifest.segments)
            problem = None
            if manifest.format != FORMAT:
                problem = "another format"
            elif not self._whole(segments):
                problem = "a segment is missing or torn"
            elif not holds(segments, fd):
                problem = "the file has changed"
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            problem = str(error)
        if problem is None:
            return segments
        self.discard(problem)
        return ()

    def _whole(self, segments: Sequence[Segment]) -> bool:
        at = 0
        for segment in segments:
            if segment.start != at:
                return False
            if segment.rows and self.sizes(segment) != (segment.size, segment.summary_size):
                return False
            at = segment.end
        return True

    def publish(self, segments: Sequence[Segment]) -> None:
        """Make these the segments, at once and durably."""
        data = msgspec.json.encode(_Manifest(FORMAT, list(segments)))
        fresh = self.folder / f"{_MANIFEST}.{secrets.token_hex(4)}"
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._manifest)

    def discard(self, reason: str) -> None:
        """Throw the index away: it is read from the file again when it is needed."""
        logger.warning("index thrown away", extra={"index": str(self.folder), "reason": reason})
        with suppress(OSError):
            self._manifest.unlink()

    def tidy(self, segments: Sequence[Segment]) -> None:
        """Remove what belongs to no segment. For the holder of the lock."""
        wanted = {self.path(segment) for segment in segments}
        wanted |= {self.summary_path(segment) for segment in segments} | {self._manifest}
        for path in self.folder.iterdir():
            if path not in wanted:
                path.unlink(missing_ok=True)

    def fresh_path(self) -> Path:
        """Where to write a segment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{secrets.token_hex(8)}.parquet"

    def path(self, segment: Segment) -> Path:
        return self.folder / segment.name

    def summary_path(self, segment: Segment) -> Path:
        return summary_of(self.path(segment))

    def sizes(self, segment: Segment) -> tuple[int, int]:
        """The bytes of the rows and of the summary. Raises OSError where one is missing."""
        return self.path(segment).stat().st_size, self.summary_path(segment).stat().st_size


def summary_of(rows: Path) -> Path:
    """Where the summary of a file of rows is."""
    return rows.with_suffix(".summary")


def holds(segments: Sequence[Segment], fd: int) -> bool:
    """Whether the file still has what was indexed."""
    size = os.fstat(fd).st_size
    return all(segment.end <= size and segment.holds(fd) for segment in segments)
