"""Taking what has ended out of the JSONL file.

The file is written anew without those lines, byte for byte and in its order, and put in the old
one's place; readers finish with the old one. Only what was appended meanwhile is copied under the
file's lock. The index goes along: its segments are moved, and only those that lost lines rewritten.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from shared.stores.jsonl_builder import write_segment
from shared.stores.jsonl_engine import Engine
from shared.stores.jsonl_file import Appender
from shared.stores.jsonl_reader import BLOCK
from shared.stores.jsonl_segments import Generation, Index, Mark, Segment, holds
from shared.stores.jsonl_view import Part, Snapshot

GIB = 1024**3
FAIR_SHARE = 0.1
SECONDS_A_GIB = 3_600.0

_SHIFTED = (
    'SELECT * EXCLUDE (gone) REPLACE ("offset" - gone AS "offset") FROM (SELECT *,'
    " coalesce(sum(CASE WHEN timestamp <= ? THEN length ELSE 0 END) OVER (ORDER BY"
    ' "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS gone'
    " FROM read_parquet(?)) WHERE timestamp > ?"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """What has ended: how many events, their lines' bytes, and the oldest timestamp."""

    events: int
    size: int
    oldest: int


def ended(snapshot: Snapshot, horizon: int) -> Ended:
    """What has ended of the snapshot."""
    found = [_ended_in(snapshot, part, horizon) for part in snapshot.parts_of(-(2**62), horizon)]
    found = [each for each in found if each.events]
    return Ended(
        sum(each.events for each in found),
        sum(each.size for each in found),
        min((each.oldest for each in found), default=horizon + 1),
    )


def _ended_in(snapshot: Snapshot, part: Part, horizon: int) -> Ended:
    ((events, size, oldest),) = snapshot.session.rows(
        "SELECT count(*), coalesce(sum(length), 0), coalesce(min(timestamp), 0)"
        f" FROM {part.source} WHERE timestamp <= $horizon",
        part.named | {"horizon": horizon},
    )
    return Ended(events, size, oldest)


def is_due(found: Ended, *, size: int, horizon: int, ttl_seconds: int) -> bool:
    """Whether to write the file anew: a fair share has ended, or something is long overdue.

    Long is a tenth of the time to live, but no more than an hour for each GiB of the file: large
    files are not copied for the sake of a few lines that no answer holds anyway.
    """
    if not found.events:
        return False
    longest = min(ttl_seconds / 10, SECONDS_A_GIB * size / GIB)
    return found.size >= FAIR_SHARE * size or horizon - found.oldest >= int(longest)


class Rewrite:
    """One rewriting of the file, without what has ended. For the holder of the index's lock."""

    def __init__(
        self, path: Path, appender: Appender, engine: Engine, index: Index, horizon: int
    ) -> None:
        self._path = path
        self._fresh = appender.fresh_path()
        self._appender = appender
        self._engine = engine
        self._index = index
        self._horizon = horizon

    def run(self, snapshot: Snapshot) -> bool:
        """Do it; False where the file was truncated or replaced meanwhile, and stays as it is."""
        with self._appender.locked():
            self._appender.remove_leftovers()
        fd = os.open(self._fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        generation = self._index.of(fd)
        try:
            os.fchmod(fd, stat.S_IMODE(os.fstat(snapshot.fd).st_mode))
            for start, end in self._kept(snapshot):
                _copy(snapshot.fd, fd, start, end)
            self._move_index(snapshot, fd, generation)
            os.fsync(fd)
            replaced = self._put_in_place(snapshot, fd)
        except BaseException:
            self._abandon(generation)
            raise
        finally:
            os.close(fd)
        if replaced:
            self._index.keep_only(generation)
        else:
            self._abandon(generation)
        return replaced

    def _put_in_place(self, snapshot: Snapshot, fd: int) -> bool:
        with self._appender.locked():
            now = os.fstat(snapshot.fd)
            if not _is_at(self._path, now) or now.st_size < snapshot.end:
                return False
            if not holds(snapshot.segments, snapshot.fd):
                return False
            _copy(snapshot.fd, fd, snapshot.end, now.st_size)
            os.fsync(fd)
            self._appender.replace(self._fresh)
        return True

    def _abandon(self, generation: Generation) -> None:
        self._fresh.unlink(missing_ok=True)
        shutil.rmtree(generation.folder, ignore_errors=True)

    def _kept(self, snapshot: Snapshot) -> Iterator[tuple[int, int]]:
        """Ranges of the file that stay, in order, up to the snapshot's end."""
        at = 0
        for start, length in self._gone(snapshot):
            if start > at:
                yield at, start
            at = start + length
        if snapshot.end > at:
            yield at, snapshot.end

    def _gone(self, snapshot: Snapshot) -> Iterator[tuple[int, int]]:
        """Where the lines are that go, in order: offset and length."""
        for part in snapshot.parts:
            if part.oldest <= self._horizon:
                yield from snapshot.session.stream(
                    f'SELECT "offset" + $at, length FROM {part.source}'
                    " WHERE timestamp <= $horizon ORDER BY 1",
                    part.named | {"at": part.start, "horizon": self._horizon},
                )

    def _move_index(self, snapshot: Snapshot, fd: int, generation: Generation) -> None:
        generation.folder.mkdir(parents=True, exist_ok=True)
        moved: list[Segment] = []
        end = 0
        for segment in snapshot.segments:
            found = self._move(snapshot, segment, end, fd, generation)
            end = found.end
            if found.end > found.start:
                moved.append(found)
        generation.publish(moved)

    def _move(
        self, snapshot: Snapshot, segment: Segment, start: int, fd: int, generation: Generation
    ) -> Segment:
        """The segment as it is in the new file, where it begins at `start`."""
        source = snapshot.generation.path(segment)
        gone = Ended(0, 0, 0)
        if segment.rows and segment.oldest <= self._horizon:
            part = Part(segment.start, str(source), segment.oldest, segment.newest, segment.rows)
            gone = _ended_in(snapshot, part, self._horizon)
        end = start + segment.end - segment.start - gone.size
        length = min(4096, end - start)
        moved = replace(
            segment,
            start=start,
            end=end,
            rows=segment.rows - gone.events,
            first=Mark.of_start(os.pread(fd, length, start), start),
            last=Mark.of_end(os.pread(fd, length, end - length), end),
        )
        if not moved.rows:
            return replace(moved, name="", size=0, summary_size=0)
        if not gone.events:
            os.link(source, generation.path(segment))
            os.link(snapshot.generation.summary_path(segment), generation.summary_path(segment))
            return moved
        moved = replace(moved, oldest=self._horizon + 1)
        parameters = [self._horizon, str(source), self._horizon]
        return write_segment(self._engine, generation, moved, _SHIFTED, parameters)


def _copy(source: int, target: int, start: int, end: int) -> None:
    """Copy the bytes from `start` to `end` to where the target is at."""
    while start < end:
        data = memoryview(os.pread(source, min(BLOCK, end - start), start))
        if not data:
            raise OSError("the file was truncated while it was copied")
        start += len(data)
        while data:
            data = data[os.write(target, data) :]


def _is_at(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), found)
    except FileNotFoundError:
        return False
