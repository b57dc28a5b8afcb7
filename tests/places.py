"""Where what must not be kept could be: the broker's memory, and the files of a folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from tests.harness import Pipeline


def memory_of(pipeline: Pipeline) -> bytes:
    """Every key of the broker with all that it holds."""
    with closing(pipeline.redis()) as client:
        readers: dict[str, Callable[[str], Any]] = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda key: client.lrange(key, 0, -1),
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            "stream": client.xrange,
        }
        names = [key.decode() for key in cast("list[bytes]", client.keys("*"))]
        kinds = [cast("bytes", client.type(name)).decode() for name in names]
        held = [(name, readers[kind](name)) for name, kind in zip(names, kinds, strict=True)]
    return repr(held).encode()


def files_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
