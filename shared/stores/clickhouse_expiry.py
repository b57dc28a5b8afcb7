"""Removing what has ended: whole partitions at once, the rest when it is worth it."""

from __future__ import annotations

from calendar import timegm

import msgspec

from shared.stores.clickhouse_engine import Engine
from shared.stores.clickhouse_schema import Schema, literal

_FEW_ROWS = 100_000
_WORTH_IT = 0.05
"""Removing some of a partition writes the rest of it anew. Below this share of a large one it is
put off, so each event is written anew a bounded number of times."""

_partitions = msgspec.json.Decoder(tuple[str, int, int])


class Expiry:
    """The expiry of one table."""

    def __init__(self, engine: Engine, schema: Schema) -> None:
        self._engine = engine
        self._schema = schema

    def expire(self, horizon: int) -> int:
        """Remove what is at or before `horizon`, in Unix seconds; returns how many events went."""
        went = 0
        for partition, held, ended in self._ending(horizon):
            if ended < held and held > _FEW_ROWS and ended < held * _WORTH_IT:
                continue
            if last_second(partition) <= horizon:
                self._alter(f"DROP PARTITION ID {literal(partition)}")
            else:
                where = f"timestamp <= {horizon}"
                self._alter(f"DELETE IN PARTITION ID {literal(partition)} WHERE {where}")
            went += ended
        return went

    def _ending(self, horizon: int) -> list[tuple[str, int, int]]:
        """Each partition that holds what has ended: its id, its rows, how many of them ended."""
        sql = (
            f"SELECT _partition_id, count(), countIf(timestamp <= {max(horizon, 0)}) AS ended "
            f"FROM {self._schema.table} WHERE _partition_id IN ("
            f"SELECT _partition_id FROM {self._schema.table} "
            f"WHERE timestamp <= {max(horizon, 0)}) GROUP BY _partition_id"
        )
        return list(_partitions.decode_lines(self._engine.query(sql)))

    def _alter(self, change: str) -> None:
        schema = self._schema
        self._engine.command(f"ALTER TABLE {schema.local}{schema.on_cluster} {change}")


def last_second(partition: str) -> int:
    """The last second of a partition of a month (YYYYMM) or of a day (YYYYMMDD)."""
    year, month, day = int(partition[:4]), int(partition[4:6]), partition[6:]
    if day:
        return timegm((year, month, int(day), 23, 59, 59))
    return timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0)) - 1
