"""The bare loops that ingest and the worker are held against, each in a process of its own.

They do the work that can't be left out and nothing else: no check, no metric, no error handled.
`codec`: typed JSON decode and msgpack encode. `drain`: stream to JSONL file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import cycle
from typing import Any, cast

import msgspec
import redis

from bench.samples import bodies
from shared.events import Event, ReceivedEvent
from shared.stream import GROUP, STREAM

DIFFERENT_BODIES = 64
READ_ENTRIES = 32
"""As many as the worker reads at once."""


class Spent(msgspec.Struct, kw_only=True):
    """What a loop did: events, wall and CPU seconds."""

    events: int
    seconds: float
    cpu: float


class _Batch(msgspec.Struct, array_like=True, gc=False):
    source: str
    events: list[Event]


def codec(batch: int, seconds: float) -> Spent:
    """Decode and encode bodies of `batch` events for a while."""
    decode = msgspec.json.Decoder(list[ReceivedEvent]).decode
    encode = msgspec.msgpack.Encoder().encode
    different = cycle(list(bodies(DIFFERENT_BODIES, batch)))
    done = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - wall) < seconds:
        encode(decode(next(different)))
        done += batch
    return Spent(events=done, seconds=spent, cpu=time.process_time() - cpu)


def drain(url: str, path: str) -> Spent:
    """Move every event of the stream to a file, each id once, until the stream is empty."""
    client = redis.Redis.from_url(url)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    known: set[str] = set()
    wall, cpu = time.perf_counter(), time.process_time()
    while entries := _read(client):
        os.write(fd, _fresh_lines(entries, known))
        os.fdatasync(fd)
        _drop(client, [entry_id for entry_id, _ in entries])
    return Spent(
        events=len(known), seconds=time.perf_counter() - wall, cpu=time.process_time() - cpu
    )


def _read(client: redis.Redis) -> list[tuple[bytes, dict[bytes, bytes]]]:
    reply = cast("Any", client.xreadgroup(GROUP, "bare", {STREAM: ">"}, count=READ_ENTRIES))
    return reply[0][1] if reply else []


_entry = msgspec.msgpack.Decoder(list[_Batch])
_line = msgspec.json.Encoder()


def _fresh_lines(entries: list[tuple[bytes, dict[bytes, bytes]]], known: set[str]) -> bytes:
    lines: list[bytes] = []
    for _, fields in entries:
        for batch in _entry.decode(fields[b"b"]):
            for event in batch.events:
                if event.id not in known:
                    known.add(event.id)
                    lines.append(_line.encode(event))
    lines.append(b"")
    return b"\n".join(lines)


def _drop(client: redis.Redis, ids: list[bytes]) -> None:
    pipe = client.pipeline(transaction=True)
    pipe.xack(STREAM, GROUP, *ids)
    pipe.xdel(STREAM, *ids)
    pipe.execute()


def spent(loop: str, *arguments: object) -> Spent:
    """Run `codec` or `drain` in a process of its own."""
    command = [sys.executable, "-m", "bench.bare", loop, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    return msgspec.json.decode(done.stdout, type=Spent)


def main(loop: str, *arguments: str) -> Spent:
    if loop == "codec":
        return codec(int(arguments[0]), float(arguments[1]))
    return drain(arguments[0], arguments[1])


if __name__ == "__main__":
    print(msgspec.json.encode(main(*sys.argv[1:])).decode())
