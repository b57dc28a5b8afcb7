"""Building the index: the settled part of the file as Parquet, a slice at a time.

Appends go on meanwhile: what is before the last newline does not change while the file is
appended to, so it is read without the file's lock. Builders are kept apart by a lock of their own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from shared.stores.jsonl_engine import Engine, IndexUnreadable
from shared.stores.jsonl_reader import open_for_reading, read_lines
from shared.stores.jsonl_rows import ROWS, RowFile
from shared.stores.jsonl_segments import Generation, Index, Mark, Segment, holds, summary_of
from shared.stores.jsonl_summary import SUMMARY

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
FEWEST_MERGED = 4
_WRITE = "(FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 122880)"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPolicy:
    """When and in what pieces the index is built. Sizes are bytes of the JSONL file."""

    settle: int = 8 * MIB
    """Less than this without index is left for later."""
    slice: int = 128 * MIB
    """What is read for one segment: about a second's work."""
    most_unindexed: int = 128 * MIB
    """A query that finds more than this without index builds it before it answers."""
    segment_rows: int = 1_000_000
    """Segments are merged up to this many rows, so that they are few."""


class Builder:
    """Brings the index of a file up to date."""

    def __init__(self, path: Path, engine: Engine, policy: IndexPolicy) -> None:
        self._path = path
        self._engine = engine
        self._policy = policy

    def work(self, index: Index, *, wait: bool) -> bool:
        """Index the next slice; returns whether more waits.

        Where another is at it: nothing with `wait` False, else the next slice after its.
        """
        try:
            fd = open_for_reading(self._path)
        except FileNotFoundError:
            index.keep_only(None)
            return False
        try:
            with index.locked(wait=wait) as mine:
                return mine and self._work(index, fd)
        finally:
            os.close(fd)

    def _work(self, index: Index, fd: int) -> bool:
        generation = index.of(fd)
        index.keep_only(generation)
        segments = generation.load(fd)
        covered = segments[-1].end if segments else 0
        if os.fstat(fd).st_size - covered < self._policy.settle:
            return False
        fresh = self._build(generation, fd, covered)
        if fresh is None:
            return False
        segments = self._merged(generation, (*segments, fresh))
        if not holds(segments, fd):
            generation.discard("the file has changed")
            return True
        generation.publish(segments)
        generation.tidy(segments)
        return os.fstat(fd).st_size - fresh.end >= self._policy.settle

    def _build(self, generation: Generation, fd: int, start: int) -> Segment | None:
        """A segment of about a slice of the file from `start`; None where no line has ended."""
        end, first, last = start, None, None
        with RowFile(self._engine.folder) as rows:
            for block in read_lines(fd, start, os.fstat(fd).st_size):
                whole = block[: block.rfind(b"\n") + 1]
                if whole:
                    first = first or Mark.of_start(whole, start)
                    last = Mark.of_end(whole, end + len(whole))
                    rows.add(whole, end - start)
                    end += len(whole)
                if end - start >= self._policy.slice or len(whole) < len(block):
                    break
            if first is None or last is None:
                return None
            segment = Segment(start, end, rows.rows, rows.malformed, first, last)
            if not rows.rows:
                return segment
            segment = replace(segment, oldest=rows.times[0], newest=rows.times[1])
            return write_segment(self._engine, generation, segment, ROWS, rows.parameters)

    def _merged(self, generation: Generation, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """The segments with the last ones made into one, where that is worth its work."""
        count = self._worth_merging([segment.rows for segment in segments])
        if not count:
            return segments
        try:
            return (*segments[:-count], self._merge(generation, segments[-count:]))
        except IndexUnreadable as error:
            # Whoever asks for a segment that can't be read throws the index away.
            logger.warning("segments not merged", extra={"reason": str(error)})
            return segments

    def _worth_merging(self, rows: Sequence[int]) -> int:
        """How many of the last segments to make into one.

        Four at least, none of them half of the whole: so a row is written again only when its
        segment at least doubles, and segments of every size are few.
        """
        worth = total = largest = 0
        for count, each in enumerate(reversed(rows), 1):
            total, largest = total + each, max(largest, each)
            if total > self._policy.segment_rows:
                break
            if count >= FEWEST_MERGED and 2 * largest <= total:
                worth = count
        return worth

    def _merge(self, generation: Generation, parts: Sequence[Segment]) -> Segment:
        full = [part for part in parts if part.rows]
        whole = Segment(
            start=parts[0].start,
            end=parts[-1].end,
            rows=sum(part.rows for part in parts),
            malformed=sum(part.malformed for part in parts),
            first=parts[0].first,
            last=parts[-1].last,
            oldest=min((part.oldest for part in full), default=0),
            newest=max((part.newest for part in full), default=0),
        )
        if not full:
            return whole
        select = " UNION ALL ".join(
            ['SELECT * REPLACE ("offset" + ? AS "offset") FROM read_parquet(?)'] * len(full)
        )
        moves: list[object] = []
        for part in full:
            moves += [part.start - whole.start, str(generation.path(part))]
        return write_segment(self._engine, generation, whole, select, moves)


def write_segment(
    engine: Engine,
    generation: Generation,
    segment: Segment,
    select: str,
    parameters: Sequence[object],
) -> Segment:
    """Write what `select` gives, and its summary, durably; returns the segment with its files."""
    path = generation.fresh_path()
    # By time, so that a row group that a query does not want can be told by its statistics.
    ordered = f"FROM ({select}) ORDER BY timestamp, id"
    _write(engine, path, ordered, parameters)
    _write(engine, summary_of(path), SUMMARY, [str(path)])
    found = replace(segment, name=path.name)
    size, summary_size = generation.sizes(found)
    return replace(found, size=size, summary_size=summary_size)


def _write(engine: Engine, path: Path, select: str, parameters: Sequence[object]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with engine.session() as session:
            session.rows(f"COPY ({select}) TO ? {_WRITE}", [*parameters, str(temporary)])
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
