"""The ClickHouse store's table, on one server or on a cluster, as statements.

The columns of `COLUMNS` are the event. Beside them are columns that ClickHouse works out when it
inserts: what figures add up (so that they read few columns, none of them twice), and a hash of the
id. The projection `by_id` keeps ids in the order of their hashes, in the same parts as the events:
an id is known exactly when its event is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.stores.clickhouse_rows import COLUMNS, NAMES

VERSION = 1
_TABLE = "routiium_events"

DERIVED = (
    (
        "input_tokens",
        "UInt64",
        "ifNull(prompt_tokens, ifNull(request_input_tokens, 0))",
        "T64, LZ4",
    ),
    (
        "output_tokens",
        "UInt64",
        "if(isNull(prompt_tokens), ifNull(response_output_tokens, 0), completion_tokens)",
        "T64, LZ4",
    ),
    (
        "success",
        "Nullable(Bool)",
        "if(isNull(status_code), NULL,"
        " ifNull(response_success, status_code >= 200 AND status_code < 400))",
        "LZ4",
    ),
    ("figures_key", "LowCardinality(String)", "toJSONString([model, endpoint, backend])", "LZ4"),
    ("id_hash", "UInt64", "halfMD5(id)", "NONE"),
)
"""Name, type, how it is worked out, codec."""

PROJECTION = "PROJECTION by_id (SELECT id_hash, id ORDER BY id_hash)"
FINE_GRAINED = " WITH SETTINGS (index_granularity = 512)"
"""Makes looking up a batch of ids cost by the batch, not by the table. Older servers lack it."""

_DURABLE = (
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_compressed_bytes_to_fsync_after_merge = 1"
)
_WIDE = "min_bytes_for_wide_part = 104857600"
"""Small parts in one file each: an insert then writes and syncs few files."""

_LONGEST_DAYS = 100
"""A shorter time to live has a partition each day, so that whole days are dropped."""
_LONGEST_NATIVE = 20 * 365 * 86_400
"""ClickHouse's DateTime ends in 2106; a TTL that reaches beyond it would wrap around."""

_OLDEST_FIRST_WINS = "18446744073709551615 - toUnixTimestamp64Micro(now64(6))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Where the table is and of what kind. `cluster` None: one server."""

    database: str
    ttl_seconds: int | None = None
    cluster: str | None = None

    @property
    def table(self) -> str:
        """What is read and inserted into."""
        return f"{quoted(self.database)}.{quoted(_TABLE)}"

    @property
    def local_name(self) -> str:
        return _TABLE if self.cluster is None else f"{_TABLE}_local"

    @property
    def local(self) -> str:
        """What holds the parts."""
        return f"{quoted(self.database)}.{quoted(self.local_name)}"

    @property
    def on_cluster(self) -> str:
        return "" if self.cluster is None else f" ON CLUSTER {quoted(self.cluster)}"

    def create(self, *, fine_grained: bool = True) -> list[str]:
        """The statements that make the database and the table where they are not there yet."""
        found = [f"CREATE DATABASE IF NOT EXISTS {quoted(self.database)}{self.on_cluster}"]
        found.append(self._create_local(fine_grained))
        if self.cluster is not None:
            found.append(self._create_distributed(self.cluster))
        return found

    def _create_local(self, fine_grained: bool) -> str:
        parts = [f"{c.name} {c.type} CODEC({c.codec})" for c in COLUMNS]
        parts += [
            f"{name} {kind} MATERIALIZED {made} CODEC({codec})"
            for name, kind, made, codec in self._derived()
        ]
        parts.append(PROJECTION + (FINE_GRAINED if fine_grained else ""))
        ttl = self.ttl_clause()
        settings = ", ".join([_DURABLE, _WIDE, *self._replacing()])
        return (
            f"CREATE TABLE IF NOT EXISTS {self.local}{self.on_cluster} ({', '.join(parts)}) "
            f"ENGINE = {self._engine()} PARTITION BY {self._partition()} "
            f"ORDER BY (timestamp, id){f' TTL {ttl}' if ttl else ''} "
            f"SETTINGS {settings} COMMENT 'schema {VERSION}'"
        )

    def _derived(self) -> tuple[tuple[str, str, str, str], ...]:
        if self.cluster is None:
            return DERIVED
        return (*DERIVED, ("precedence", "UInt64", _OLDEST_FIRST_WINS, "LZ4"))

    def _engine(self) -> str:
        if self.cluster is None:
            return "MergeTree"
        path = "/clickhouse/tables/{shard}/{database}/{table}"
        return f"ReplicatedReplacingMergeTree('{path}', '{{replica}}', precedence)"

    def _replacing(self) -> list[str]:
        return [] if self.cluster is None else ["deduplicate_merge_projection_mode = 'rebuild'"]

    def _partition(self) -> str:
        by_day = self.ttl_seconds is not None and self.ttl_seconds <= _LONGEST_DAYS * 86_400
        return "toYYYYMMDD(timestamp)" if by_day else "toYYYYMM(timestamp)"

    def _create_distributed(self, cluster: str) -> str:
        engine = ", ".join(
            [literal(cluster), literal(self.database), literal(self.local_name), "cityHash64(id)"]
        )
        return (
            f"CREATE TABLE IF NOT EXISTS {self.table}{self.on_cluster} AS {self.local} "
            f"ENGINE = Distributed({engine})"
        )

    def ttl_clause(self) -> str | None:
        """ClickHouse's own expiry; None where events never end or `expire` alone ends them."""
        if self.ttl_seconds is None or self.ttl_seconds > _LONGEST_NATIVE:
            return None
        return f"timestamp + toIntervalSecond({self.ttl_seconds})"

    def describe(self) -> str:
        """A query for the local table's definition and comment; no row where it is missing."""
        return (
            "SELECT engine_full, comment FROM system.tables "
            f"WHERE database = {literal(self.database)} AND name = {literal(self.local_name)}"
        )

    def alter_ttl(self, engine_full: str) -> str | None:
        """What gives a table so defined our TTL; None where it has it."""
        found = re.search(r"\bTTL (timestamp \+ toIntervalSecond\(\d+\))", engine_full)
        present, wanted = found and found.group(1), self.ttl_clause()
        if present == wanted:
            return None
        change = "REMOVE TTL" if wanted is None else f"MODIFY TTL {wanted}"
        return f"ALTER TABLE {self.local}{self.on_cluster} {change}"

    def insert(self, source: str, *, unless_known: bool) -> str:
        """Insert the rows of `source`; with `unless_known` those whose id is not stored."""
        names = ", ".join(NAMES)
        statement = f"INSERT INTO {self.table} ({names}) SELECT {names} FROM {source}"
        if not unless_known:
            return statement
        within = "IN" if self.cluster is None else "GLOBAL IN"
        return (
            f"{statement} WHERE id NOT IN (SELECT id FROM {self.table} "
            f"WHERE id_hash {within} (SELECT halfMD5(id) FROM {source}))"
        )

    def read_settings(self) -> str:
        """Where writers come through several servers, an event may be there twice until a merge."""
        if self.cluster is None:
            return ""
        return " SETTINGS final = 1, do_not_merge_across_partitions_select_final = 1"


BATCH_STRUCTURE = ", ".join(f"{column.name} {column.plain}" for column in COLUMNS)


def quoted(identifier: str) -> str:
    return "`" + _escaped(identifier).replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Text as a ClickHouse string literal."""
    return "'" + _escaped(text).replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0")
