"""Files as batches of events, each a line of JSON with an id.

An event without an id gets one made from what its line says, so the same line is the same event
however often it is imported. Two lines that say the very same, id left out, are one event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, BinaryIO, Protocol

import msgspec

BATCH_LINES = 5_000
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Between two records of a file: bytes and lines before it."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`numbers` are the lines' in the file, from 1; `end` is where the next batch begins."""

    lines: list[bytes]
    numbers: list[int]
    end: Place

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.lines) // 2
        return (
            Batch(self.lines[:middle], self.numbers[:middle], self.end),
            Batch(self.lines[middle:], self.numbers[middle:], self.end),
        )


class Reader(Protocol):
    """Reads a file from a place on; raises Failure where it is not of the format."""

    def __call__(self, file: BinaryIO, place: Place) -> Iterator[Batch]: ...


class _Known(msgspec.Struct):
    """All that must be known of a line."""

    id: Any = None


_known = msgspec.json.Decoder(_Known)
_object = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.encode


def read_jsonl(file: BinaryIO, place: Place) -> Iterator[Batch]:
    """One event a line. What is no event goes on as it is: ingest says what is wrong with it.

    A last line without its newline may still be written to: it is sent, and read again next time.
    """
    file.seek(place.offset)
    while lines := _some_lines(file):
        numbers = range(place.line + 1, place.line + len(lines) + 1)
        finished = lines if lines[-1].endswith(b"\n") else lines[:-1]
        size = sum(map(len, finished))
        place = Place(place.offset + size, place.line + len(finished))
        kept = [(line, number) for line, number in zip(lines, numbers, strict=True) if line.strip()]
        yield Batch(_identified([line for line, _ in kept]), [n for _, n in kept], place)


def _some_lines(file: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    for line in islice(file, BATCH_LINES):
        lines.append(line)
        size += len(line)
        if size >= BATCH_BYTES:
            break
    return lines


def _identified(lines: list[bytes]) -> list[bytes]:
    try:
        known = _known.decode_lines(b"".join(lines))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [_with_id(line) for line in lines]
    if len(known) == len(lines) and all(one.id is not None for one in known):
        return lines
    return [_with_id(line) for line in lines]


def _with_id(line: bytes) -> bytes:
    try:
        if _known.decode(line).id is not None:
            return line
        event = _object.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    return _encode({**event, "id": content_id(line.strip())})


def content_id(content: bytes) -> str:
    """The id of an event that has none: it depends on nothing but what its line says."""
    return "line-" + blake2b(content, digest_size=16).hexdigest()
