"""A ClickHouse server over HTTP, through clickhouse-connect.

Writers of all processes append one after another: each insert runs in a session of one name, and
ClickHouse lets one query at a time into a session. That lock can't be left behind, for it ends with
the query. So the insert itself looks up which ids are stored, and no other comes between.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

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
from shared.stores.clickhouse_schema import BATCH_STRUCTURE, Schema

SCHEMES = ("clickhouse", "clickhouses", "http", "https")
DEFAULT_DATABASE = "default"
CLUSTER_SETTINGS: dict[str, int | str] = {
    "distributed_foreground_insert": 1,
    "load_balancing": "in_order",
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
    "select_sequential_consistency": 1,
}
"""A write is on most replicas of its shard when it is acknowledged, and every reader sees it."""

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 120
_PING_SECONDS = 3
_TURN_SECONDS = 60.0
"""How long an append waits for the others' before it says that the store is away."""
_SESSION_IS_LOCKED = 373
_BATCH = "arrived"

T = TypeVar("T")


def database_of(url: str) -> str:
    """The database that a URL names."""
    return unquote(urlsplit(url).path.strip("/")) or DEFAULT_DATABASE


def options_of(url: str, variable: str) -> dict[str, Any]:
    """clickhouse-connect's arguments for a URL such as clickhouse://user:pass@host:8123/db.

    Parameters of the URL are passed on: `secure`, `verify`, `ca_cert`, `connect_timeout`, ….
    """
    require_driver("clickhouse_connect", "clickhouse", variable)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError([f"{variable}: {error}"]) from None
    if parts.scheme not in SCHEMES or not host:
        raise SettingsError(
            [f"{variable}: must be such as clickhouse://user:password@host:8123/db"]
        )
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    secure = options.pop("secure", "").lower() in ("1", "true", "yes", "on")
    if secure or parts.scheme in ("clickhouses", "https") or port in (443, 8443):
        options["interface"] = "https"
    else:
        options["interface"] = "http"
    return {
        "connect_timeout": _CONNECT_SECONDS,
        "send_receive_timeout": _ANSWER_SECONDS,
        **options,
        "host": host,
        "port": port,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else "",
    }


class ServerEngine(Engine):
    """A server. It is connected to at the first call, and again after it has been away."""

    def __init__(self, url: str, variable: str, *, cluster: str | None = None) -> None:
        self._options = options_of(url, variable)
        from clickhouse_connect.driver import create_client, exceptions, external

        self._session = f"routiium-append-{database_of(url)}"
        self._settings = {**SETTINGS, **({} if cluster is None else CLUSTER_SETTINGS)}
        self._create = create_client
        self._errors = exceptions
        self._external = external.ExternalData
        self._connecting = threading.Lock()
        self._appending = threading.Lock()
        self._client: Any = None

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = self._create(
                    **self._options, settings=self._settings, autogenerate_session_id=False
                )
            return self._client

    def _run(self, action: Callable[[Any], T]) -> T:
        try:
            return action(self._connected())
        except self._errors.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> EngineError | EngineUnavailable:
        # No code of ClickHouse's: nobody answered, or a proxy did.
        if error.code is None and not isinstance(error, self._errors.ProgrammingError):
            return EngineUnavailable(f"ClickHouse: {str(error)[:500]}", None)
        return failure(str(error), error.code)

    def query(self, sql: str) -> bytes:
        return self._run(lambda client: bytes(client.raw_query(sql, fmt=ROW_FORMAT)))

    def command(self, sql: str) -> None:
        self._run(lambda client: client.command(sql))

    def append(self, schema: Schema, rows: Sequence[Row]) -> int:
        data = self._external(
            file_name=_BATCH, data=encode_rows(rows), fmt=ROW_FORMAT, structure=[BATCH_STRUCTURE]
        )
        sql = schema.insert(_BATCH, unless_known=True)
        # The count is of the whole insert only once that has ended.
        settings = {"session_id": self._session, "wait_end_of_query": 1}

        def insert(client: Any) -> Any:
            return client.command(sql, external_data=data, settings=settings)

        with self._appending:
            summary = _in_turn(lambda: self._run(insert))
        return int(summary.written_rows)

    def clear(self, schema: Schema) -> None:
        self.command(f"TRUNCATE TABLE {schema.local}{schema.on_cluster}")

    def ping(self) -> None:
        if not self._run(lambda client: client.ping(timeout=_PING_SECONDS)):
            raise EngineUnavailable("ClickHouse does not answer", None)

    def close(self) -> None:
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None


def _in_turn(action: Callable[[], T]) -> T:
    """Try until no other writer is in the session."""
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            return action()
        except EngineError as error:
            if error.code != _SESSION_IS_LOCKED:
                raise
            if time.monotonic() > deadline:
                raise EngineUnavailable(
                    "ClickHouse: other writers' appends do not end", None
                ) from None
        time.sleep(random.uniform(0.002, 0.02))
