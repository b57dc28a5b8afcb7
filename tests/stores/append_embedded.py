"""A process that appends to an embedded ClickHouse until it is killed, and says what is safe.

`python -m tests.stores.append_embedded <url>` prints, after each append, how many events there are.
"""

from __future__ import annotations

import sys
from itertools import count

from shared.stores.clickhouse import ClickHouseStore
from tests.stores.samples import make_event

BATCH = 20


def main(url: str) -> None:
    store = ClickHouseStore(url)
    for start in count(0, BATCH):
        store.append([make_event(f"e{n:06}") for n in range(start, start + BATCH)])
        print(start + BATCH, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
