"""Reading the JSONL file: one event a line, in blocks, while others append."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared.errors import StoreUnavailable
from shared.events import Event

logger = logging.getLogger(__name__)

BLOCK = 4 * 1024 * 1024
DECODE_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_events = msgspec.json.Decoder(Event)


@contextmanager
def unavailable_where_it_fails(path: Path) -> Iterator[None]:
    """Turn an OSError into StoreUnavailable."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror or error}") from error


def open_for_reading(path: Path) -> int:
    """A descriptor of the file; an OSError where there is none, or where it is a folder."""
    fd = os.open(path, os.O_RDONLY)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return fd


class Malformed:
    """Counts lines that hold no event, and says so once for each new count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reported = 0

    def report(self, count: int) -> None:
        if count and count != self._reported:
            logger.warning(
                "malformed lines skipped", extra={"path": str(self._path), "lines": count}
            )
        self._reported = count


def read_events(path: Path, malformed: Malformed) -> Iterator[list[Event]]:
    """The events of the file as it is now, in chunks, in the file's order.

    Lines that hold no event are skipped and reported; a last line without its end is not, for it
    may be on its way. A file that is not there is empty.
    """
    skipped = 0
    with unavailable_where_it_fails(path):
        try:
            fd = open_for_reading(path)
        except FileNotFoundError:
            return
        try:
            for block in read_lines(fd, 0, os.fstat(fd).st_size):
                events, failed = _decode_block(block)
                skipped += failed
                if events:
                    yield events
        finally:
            os.close(fd)
    malformed.report(skipped)


def _decode_block(block: bytes) -> tuple[list[Event], int]:
    """The events of a block of lines, and the number of whole lines that hold none."""
    try:
        return _events.decode_lines(block), 0
    except DECODE_FAILURES:
        *lines, rest = block.split(b"\n")
    lines = [line for line in lines if line.strip()]
    events = [event for event in map(decode_event, lines) if event is not None]
    failed = len(lines) - len(events)
    if rest and (last := decode_event(rest)) is not None:
        events.append(last)
    return events, failed


def read_lines(fd: int, start: int, end: int) -> Iterator[bytes]:
    """Blocks of whole lines from offset `start` to `end`; the last may lack its newline."""
    rest = b""
    while start < end:
        block = os.pread(fd, min(BLOCK, end - start), start)
        if not block:
            break
        start += len(block)
        cut = block.rfind(b"\n") + 1
        if cut == 0:
            rest += block
            continue
        yield rest + block[:cut]
        rest = block[cut:]
    if rest:
        yield rest


def decode_event(line: bytes) -> Event | None:
    """The event of a line, or None where it holds none."""
    try:
        return _events.decode(line)
    except DECODE_FAILURES:
        return None
