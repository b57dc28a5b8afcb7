"""A process that appends to a JSONL store: `python -m tests.stores.append_lines PATH MODE …`.

`range START END`: appends the events START–END in batches of 20 and prints how many were new.
`forever`: appends batches without end, until it is killed; prints a line after each.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from shared.stores.jsonl import JsonlStore
from tests.stores.samples import make_event


def main(path: str, mode: str, first: int = 0, last: int = 0) -> None:
    store = JsonlStore(Path(path))
    new = 0
    for start in range(first, last, 20) if mode == "range" else count(0, 20):
        numbers = range(start, start + 20)
        new += store.append([make_event(f"e{n:06}", 1_000_000_000 + n) for n in numbers])
        if mode == "forever":
            print(new, flush=True)
    print(new)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
