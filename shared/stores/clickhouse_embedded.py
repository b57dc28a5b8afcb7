"""ClickHouse inside this process: chdb, its data in a folder.

One process at a time holds a folder, and one folder at a time is held by a process. So a lock here
makes looking up an id and inserting its event one step, and a filter in memory knows which ids are
certainly new, without asking.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import numpy as np

from shared.errors import SettingsError
from shared.stores.clickhouse_engine import (
    SETTINGS,
    Engine,
    EngineError,
    EngineUnavailable,
    failure,
    require_driver,
)
from shared.stores.clickhouse_rows import ROW_FORMAT, Row, encode_rows
from shared.stores.clickhouse_schema import BATCH_STRUCTURE, Schema, literal
from shared.stores.clickhouse_seen import Hashes, Seen, hashes_of

_LOOKUP = 5_000
"""Ids looked up in one query."""
_LOAD_SHARE = 1_000_000
"""Hashes of stored ids read in one query, roughly, when the filter is filled."""

_code = re.compile(r"\bCode: (\d+)")
_ids = msgspec.json.Decoder(tuple[str])
_count = msgspec.json.Decoder(tuple[int])


class _Folder:
    """The engine of one folder, shared by all that open it. Connections are reused."""

    def __init__(self, path: Path) -> None:
        import chdb

        self.path = path
        self.users = 0
        self.appending = threading.Lock()
        self.seen: Seen | None = None
        connect: Any = chdb.connect
        self._connect = connect
        self._idle: list[Any] = []
        self._idle.append(self._open())

    def _open(self) -> Any:
        connection = self._connect(str(self.path))
        for name, value in SETTINGS.items():
            connection.query(f"SET {name} = {literal(str(value))}", ROW_FORMAT)
        return connection

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection that nobody else uses: one answers one query at a time."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


_opening = threading.Lock()
_open: dict[Path, _Folder] = {}


def _acquire(path: Path, variable: str) -> _Folder:
    with _opening:
        if path not in _open:
            _open[path] = _open_folder(path, variable)
        _open[path].users += 1
        return _open[path]


def _open_folder(path: Path, variable: str) -> _Folder:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return _Folder(path)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:300]
        raise SettingsError([f"{variable}: {path} can't be opened: {reason}"]) from None


def _release(folder: _Folder) -> None:
    with _opening:
        folder.users -= 1
        if folder.users == 0:
            del _open[folder.path]
            folder.close()


def folder_of(url: str, variable: str) -> Path:
    """The folder that chdb:///path/to/folder names; SettingsError where it is none."""
    require_driver("chdb", "chdb", variable)
    parts = urlsplit(url)
    folder = unquote(parts.netloc + parts.path)
    if not folder or ":memory:" in folder:
        raise SettingsError([f"{variable}: must name a folder, such as chdb:///var/lib/routiium"])
    return Path(os.path.realpath(folder))


class EmbeddedEngine(Engine):
    """The engine of a folder. Raises SettingsError, by `variable`, where it can't be opened."""

    def __init__(self, url: str, variable: str) -> None:
        self._folder = _acquire(folder_of(url, variable), variable)
        self._closed = False

    def query(self, sql: str) -> bytes:
        with self._folder.connection() as connection:
            try:
                answer: bytes = connection.query(sql, ROW_FORMAT).bytes()
            except RuntimeError as error:
                raise _failure(error) from None
        return answer or b""

    def command(self, sql: str) -> None:
        self.query(sql)

    def append(self, schema: Schema, rows: Sequence[Row]) -> int:
        with self._folder.appending:
            if self._folder.seen is None:
                self._folder.seen = self._load(schema)
            return self._append(schema, rows, self._folder.seen)

    def _append(self, schema: Schema, rows: Sequence[Row], seen: Seen) -> int:
        hashes = hashes_of(row[0] for row in rows)
        maybe = seen.among(hashes)
        if maybe.any():
            known = self._known(schema, hashes[maybe])
            new = [row for row in rows if row[0] not in known]
        else:
            new = list(rows)
        if new:
            # Before the insert: a filter that knows too much costs a look-up, never an event.
            seen.add(hashes[~maybe])
            self._insert(schema, new)
        return len(new)

    def _known(self, schema: Schema, hashes: Hashes) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(hashes), _LOOKUP):
            chosen = ", ".join(map(str, hashes[start : start + _LOOKUP].tolist()))
            answer = self.query(f"SELECT id FROM {schema.table} WHERE id_hash IN ({chosen})")
            found.update(row[0] for row in _ids.decode_lines(answer))
        return found

    def _insert(self, schema: Schema, rows: Sequence[Row]) -> None:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(encode_rows(rows))
            file.flush()
            source = f"file({literal(file.name)}, {ROW_FORMAT}, {literal(BATCH_STRUCTURE)})"
            self.command(schema.insert(source, unless_known=False))

    def _load(self, schema: Schema) -> Seen:
        """A filter of all ids that are stored."""
        seen = Seen()
        (total,) = _count.decode(self.query(f"SELECT count() FROM {schema.table}"))
        shares = total // _LOAD_SHARE + 1
        bounds = [2**64 * share // shares for share in range(shares + 1)]
        for low, high in pairwise(bounds):
            chosen = f"id_hash BETWEEN {low} AND {high - 1}"
            sql = f"SELECT id_hash FROM {schema.table} WHERE {chosen} FORMAT RowBinary"
            seen.add(np.frombuffer(self.query(sql), dtype="<u8").astype(np.uint64))
        return seen

    def clear(self, schema: Schema) -> None:
        with self._folder.appending:
            self.command(f"TRUNCATE TABLE {schema.local}")
            self._folder.seen = None

    def ping(self) -> None:
        self.query("SELECT 1")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _release(self._folder)


def _failure(error: RuntimeError) -> EngineError | EngineUnavailable:
    message = str(error)
    found = _code.search(message)
    return failure(message, int(found.group(1)) if found else None)
