"""How far a file has been imported, kept from one run to the next.

It is a convenience and saves time: what is sent twice is one event anyway.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import typer

from routiium_client.cli.lines import Place

_EDGE_BYTES = 4_096


class Progress:
    """The place in one file, as far as one ingest has taken it."""

    def __init__(self, file: BinaryIO, path: Path, url: str) -> None:
        self._file = file
        name = blake2b(f"{path.resolve()}\0{url}".encode(), digest_size=12).hexdigest()
        self._kept = Path(typer.get_app_dir("routiium-analytics")) / "imports" / f"{name}.json"

    def place(self) -> Place:
        """Where to go on; the beginning where the file is not the one that it was."""
        try:
            kept = json.loads(self._kept.read_text())
            place = Place(int(kept["offset"]), int(kept["line"]))
            edges = kept["edges"]
        except (OSError, ValueError, KeyError, TypeError):
            return Place()
        return place if edges == self._edges(place.offset) else Place()

    def forget(self) -> None:
        with suppress(OSError):
            self._kept.unlink()

    def keep(self, place: Place) -> None:
        kept = {"offset": place.offset, "line": place.line, "edges": self._edges(place.offset)}
        written = self._kept.with_suffix(".new")
        # Where it can't be kept, the next run begins at the beginning.
        with suppress(OSError):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(kept))
            written.replace(self._kept)

    def _edges(self, offset: int) -> str:
        """A mark of the file's first bytes and of those before `offset`; reads past no reader."""
        size = min(offset, _EDGE_BYTES)
        descriptor = self._file.fileno()
        edges = os.pread(descriptor, size, 0) + os.pread(descriptor, size, offset - size)
        return blake2b(edges, digest_size=16).hexdigest()
