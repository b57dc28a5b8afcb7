"""What is written: tables, goals with their verdicts, the machine, and where they go in the page.

Each section of the page lies between two markers of its own, so that one benchmark can be repeated
without touching the others' tables, and what is written by hand stays.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from deploy.broker import find_server

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
PACKAGES = ("falcon", "gunicorn", "uvloop", "msgspec", "redis", "hiredis", "arq")
SYNCS = 200
_EMPTY_PAGE = """# Benchmarks

`make bench` measures everything on this page in one run and writes its tables. Every goal is a
ratio against something measured in the same run on the same machine, or a time that a user would
notice. A goal that is missed is printed as missed.
"""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure, and the bound that it is judged by."""

    name: str
    figure: float
    bound: float
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def row(self) -> tuple[str, str, str, str]:
        """Goal, figure, bound, verdict."""
        sign = "≥" if self.at_least else "≤"
        verdict = "met" if self.met else "**missed**"
        return (self.name, self._show(self.figure), f"{sign} {self._show(self.bound)}", verdict)

    def _show(self, value: float) -> str:
        return f"{value:,.0f} {self.unit}" if self.unit else f"{value:.2f}"


def goals_table(goals: Sequence[Goal]) -> str:
    return table(("goal", "figure", "bound", "verdict"), [goal.row() for goal in goals])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells past the first column are aligned right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)) + "\n"


def spread(values: Sequence[float]) -> str:
    """The median, and the lowest and highest of several rounds."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def write_section(name: str, markdown: str, *, page: Path = PAGE) -> None:
    """Put `markdown` between the markers of section `name`; a new section goes to the end."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = f"{begin}\n{markdown.strip()}\n{end}"
    text = page.read_text() if page.exists() else _EMPTY_PAGE
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if found.search(text):
        text = found.sub(lambda _: section, text)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def machine(folder: Path) -> str:
    """The machine in a table: what the figures depend on, and nothing that names its owner."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    rows = [
        ("measured", time.strftime("%Y-%m-%d, %H:%M UTC", time.gmtime())),
        ("busy with other work", f"load average {os.getloadavg()[0]:.1f} before the run"),
        ("CPU", f"{cpu_model()}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("4 KiB append and sync", _sync_times(folder)),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("broker", _broker_version()),
        ("packages", packages),
    ]
    heading = "## Machine\n\nEverything below shares it: servers, broker, store and senders.\n\n"
    return heading + table(("", ""), rows).replace("---:", "---")


def cpu_model() -> str:
    """The processor by its maker's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _broker_version() -> str:
    answer = subprocess.run(
        [find_server(), "--version"], check=True, capture_output=True, text=True
    )
    version_of = re.search(r"v=(\S+)", answer.stdout)
    return f"redis-server {version_of[1]}" if version_of else answer.stdout.strip()


def _sync_times(folder: Path) -> str:
    """How long the disk takes to make 4 KiB durable: the floor under every acknowledged write."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.write(file.fileno(), bytes(4_096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    taken.sort()
    return f"{taken[SYNCS // 2] * 1e6:,.0f} µs median, {taken[SYNCS * 9 // 10] * 1e6:,.0f} µs p90"
