"""The yardstick: DuckDB on a plain Parquet file of the same events, asked the same questions.

`python -m bench.stores.yardstick <folder> <events>` prints its figures as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.stores.bare import COLUMNS, row
from bench.stores.measure import _times
from bench.stores.traffic import DAYS, END, MODELS, Traffic

_QUERY = """
    SELECT model, endpoint, backend, count(*), sum(success), sum(input_tokens), sum(output_tokens),
           sum(total_cost), avg(duration_ms)
    FROM read_parquet(?) WHERE timestamp BETWEEN ? AND ? {filter} GROUP BY ALL
"""
_QUANTILES = """
    SELECT approx_quantile(duration_ms, [0.5, 0.9, 0.95, 0.99]), max(duration_ms)
    FROM read_parquet(?) WHERE timestamp BETWEEN ? AND ? {filter}
"""


def write_parquet(path: Path, count: int) -> None:
    """The events as one Parquet file, in order of time."""
    writer: Any = None
    for events in Traffic(count).batches(100_000):
        columns = list(zip(*map(row, events), strict=True))[: COLUMNS.index("event")]
        table = pa.table([pa.array(column) for column in columns], names=list(COLUMNS[:-1]))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def ask(path: Path) -> dict[str, Any]:
    """The same questions as the stores are asked, where SQL on one file has them."""
    connection = duckdb.connect(config={"threads": 2, "temp_directory": str(path.parent)})

    def figures(start: int, model: str | None = None) -> None:
        condition = "" if model is None else "AND model = ?"
        values = [str(path), start, END] + ([] if model is None else [model])
        for query in (_QUERY, _QUANTILES):
            connection.execute(query.format(filter=condition), values).fetchall()

    def newest() -> None:
        query = "SELECT * FROM read_parquet(?) ORDER BY timestamp DESC, id DESC LIMIT 100"
        connection.execute(query, [str(path)]).fetchall()

    month = END - DAYS * 86_400 + 61
    return {
        "milliseconds": {
            "hour": _times(lambda: figures(END - 3_600)),
            "day": _times(lambda: figures(END - 86_400)),
            "month": _times(lambda: figures(month)),
            "month_one_model": _times(lambda: figures(month, MODELS[1][0])),
            "newest_100": _times(newest),
        }
    }


def main() -> None:
    path = Path(sys.argv[1]) / "events.parquet"
    write_parquet(path, int(sys.argv[2]))
    print(json.dumps(ask(path)))


if __name__ == "__main__":
    main()
