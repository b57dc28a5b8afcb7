"""`python -m bench`: measure in one run, and write the tables of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import freshness, importing, ingest, worker
from bench.effort import FULL, QUICK, Effort
from bench.report import PAGE, machine, write_section

Measure = Callable[[Path, Effort], str]

BENCHES: dict[str, Measure] = {
    "ingest": ingest.measure,
    "worker": worker.measure,
    "freshness": freshness.measure,
    "importing": importing.measure,
}


def run(names: Sequence[str], effort: Effort, page: Path) -> None:
    """Measure each bench in a folder of its own, and write its section as soon as it is there."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        write_section("machine", machine(Path(scratch)), page=page)
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            started = time.monotonic()
            markdown = BENCHES[name](folder, effort)
            write_section(name, markdown, page=page)
            print(f"{markdown}\n({name}: {time.monotonic() - started:.0f} s)\n", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(BENCHES),
        metavar="NAME,…",
        help=f"some of {', '.join(BENCHES)}",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write to")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - BENCHES.keys():
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    run(options.only, QUICK if options.quick else FULL, options.page)


if __name__ == "__main__":
    main(sys.argv[1:])
