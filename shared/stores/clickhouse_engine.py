"""What the ClickHouse store needs of an engine: a server, or one in this process."""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Sequence

from shared.errors import SettingsError, StoreError, StoreUnavailable
from shared.stores.clickhouse_rows import Row
from shared.stores.clickhouse_schema import Schema

SETTINGS: dict[str, int | str] = {
    # Rows are read and written as JSON; every number must come back as it was.
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
    "precise_float_parsing": 1,
    "session_timezone": "UTC",
    "max_query_size": 16 * 1024 * 1024,
    # One block, so that an insert is one part for each partition and all or nothing.
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_000_000_000,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    # A block that is alike is no repeat: after a clear the same events are new.
    "insert_deduplicate": 0,
    # A change of the table is done when it is acknowledged.
    "mutations_sync": 2,
    "alter_sync": 2,
}

SYNTAX_ERROR = 62
UNKNOWN_TABLE = 60
UNKNOWN_DATABASE = 81
_AWAY = {
    *(159, 160, 198, 202, 203, 209, 210, 236, 241, 243, 252, 279, 285, 286, 319, 394, 425),
    *(242, 225, 999, 164, 192, 193, 194, 195, 497, 516, 517, UNKNOWN_TABLE, UNKNOWN_DATABASE),
}
"""ClickHouse's codes for what no event is at fault for: time-outs, networks, too many queries or
parts, memory, disks, replicas and Keeper; then rights, users, and a table that is not there."""
_FULL_DISK = "No space left on device"


def require_driver(module: str, extra: str, variable: str) -> None:
    """Raise SettingsError, by `variable`, where a driver is missing: it says what to install."""
    if importlib.util.find_spec(module) is None:
        install = f"pip install 'routiium-analytics[{extra}]'"
        raise SettingsError([f"{variable}: {module} is not installed: {install}"])


class EngineError(StoreError):
    """A statement failed; `code` is ClickHouse's, None where it gave none."""

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


class EngineUnavailable(StoreUnavailable):
    """The engine is away; `code` is ClickHouse's, None where it did not answer."""

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


def failure(message: str, code: int | None) -> EngineError | EngineUnavailable:
    """The exception for an answer of ClickHouse: whether to try again, or to blame the data."""
    first = message.strip().splitlines()[0][:500] if message.strip() else "no message"
    if code in _AWAY or _FULL_DISK in message:
        return EngineUnavailable(f"ClickHouse: {first}", code)
    return EngineError(f"ClickHouse: {first}", code)


class Engine(abc.ABC):
    """Runs statements. Safe to call from several threads.

    Raises StoreUnavailable where it is away, EngineError where it refuses a statement.
    """

    @abc.abstractmethod
    def query(self, sql: str) -> bytes:
        """The answer's rows, in ROW_FORMAT."""

    @abc.abstractmethod
    def command(self, sql: str) -> None:
        """Run a statement that has no answer."""

    @abc.abstractmethod
    def append(self, schema: Schema, rows: Sequence[Row]) -> int:
        """Insert the rows whose ids are not stored, and return how many; ids in `rows` differ."""

    @abc.abstractmethod
    def clear(self, schema: Schema) -> None:
        """Remove every row of the table."""

    @abc.abstractmethod
    def ping(self) -> None:
        """Return quickly where the engine answers."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what this object holds. Closing twice is allowed."""
