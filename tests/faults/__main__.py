"""`python -m tests.faults`: run pipelines under load, end their processes, balance the books.

Exits with 1 where an event was lost or counted twice, or anything else went wrong. What a failed
run leaves behind is kept, and named.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.backends import BACKENDS
from tests.faults.page import write_rows
from tests.faults.run import Outcome, Plan, run_store

STORES = ["jsonl", "redis", "sqlite", "postgresql", "clickhouse"]


def run(stores: Sequence[str], plan: Plan, page: Path | None) -> bool:
    """Run the plan on each store; returns whether every one was clean."""
    clean = True
    for store in stores:
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{store}-"))
        outcome = run_store(store, plan, folder, partial(_say, store))
        _report(outcome, plan, folder)
        clean &= outcome.clean
        if outcome.clean:
            shutil.rmtree(folder)
        if page is not None:
            write_rows([outcome], page)
    return clean


def _report(outcome: Outcome, plan: Plan, folder: Path) -> None:
    for problem in outcome.problems:
        _say(outcome.store, f"PROBLEM: {problem}")
    verdict = "clean" if outcome.clean else f"NOT CLEAN; logs and data in {folder}"
    seconds, slowest = outcome.slowest_stop
    faults = ", ".join(f"{how} {name} ×{n}" for (name, how), n in sorted(outcome.faults.items()))
    _say(
        outcome.store,
        f"{outcome.rounds} of {plan.rounds} rounds, seed {outcome.seed}: {faults}; "
        f"{outcome.events:,} events at {outcome.rate:,.0f}/s, {outcome.refused} tries refused; "
        f"lost {outcome.lost}, twice {outcome.twice}, dead letters {outcome.dead}, "
        f"slowest stop {seconds:.1f} s ({slowest}): {verdict}",
    )


def _say(store: str, line: str) -> None:
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {store}: {line}", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--stores",
        type=lambda text: text.split(","),
        default=STORES,
        metavar="NAME,…",
        help=f"some of {', '.join(BACKENDS)}",
    )
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--seed", type=int, help="repeat a run's faults; printed by every run")
    parser.add_argument("--page", type=Path, help="write the table of this page")
    options = parser.parse_args(arguments)
    if unknown := set(options.stores) - BACKENDS.keys():
        parser.error(f"no such store: {', '.join(sorted(unknown))}")
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    plan = Plan(seed=seed, rounds=options.rounds)
    return 0 if run(options.stores, plan, options.page) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
