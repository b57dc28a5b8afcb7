"""DuckDB, as the JSONL store uses it: one database in memory for each store object.

The database holds one table, the rows of the file's tail. Everything else is read from Parquet.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

THREADS = 2
MEMORY_LIMIT = "320MB"
"""What DuckDB may hold; what sorts and groups need beyond it goes to temporary files."""


Parameters = Sequence[object] | Mapping[str, object]


class IndexUnreadable(Exception):
    """What the index says can't be read, or does not fit the file: it has to be read anew."""


class Session:
    """A connection for one caller at a time: statements, each run to its end."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Every row of the answer. Raises IndexUnreadable, or StoreUnavailable without memory."""
        import duckdb

        try:
            return self._connection.execute(sql, parameters).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise StoreUnavailable(f"not enough memory for this answer: {error}") from error
        except duckdb.Error as error:
            raise IndexUnreadable(str(error)) from error

    def stream(
        self, sql: str, parameters: Parameters = (), *, size: int = 10_000
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of the answer, `size` of them in memory at a time."""
        import duckdb

        try:
            result = self._connection.execute(sql, parameters)
            while chunk := result.fetchmany(size):
                yield from chunk
        except duckdb.Error as error:
            raise IndexUnreadable(str(error)) from error


class Engine:
    """The database, opened when it is first needed.

    Safe between threads; each takes a session of its own. It is not to be used across a fork.
    """

    def __init__(self, setup: str) -> None:
        self._setup = setup
        self._mutex = threading.RLock()
        self._connection: DuckDBPyConnection | None = None
        self._folder: Path | None = None
        self._remove_folder: Callable[[], object] = lambda: None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session, and the end of its transaction."""
        with self._mutex:
            connection = self._connect().cursor()
        try:
            yield Session(connection)
        finally:
            connection.close()

    @property
    def folder(self) -> Path:
        """A folder of this process's own, removed with the engine."""
        with self._mutex:
            if self._folder is None:
                name = tempfile.mkdtemp(prefix="routiium-analytics-")
                self._remove_folder = weakref.finalize(self, shutil.rmtree, name, True)
                self._folder = Path(name)
            return self._folder

    def close(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._remove_folder()
            self._folder = None

    def _connect(self) -> DuckDBPyConnection:
        if self._connection is None:
            # Imported here because it takes 0.2 s and 35 MB, and not every service asks.
            import duckdb

            self._connection = duckdb.connect(
                ":memory:",
                config={
                    "threads": THREADS,
                    "memory_limit": MEMORY_LIMIT,
                    "temp_directory": str(self.folder / "spill"),
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
            self._connection.execute("SET GLOBAL parquet_metadata_cache = true")
            self._connection.execute(self._setup)
        return self._connection
