"""`import`: files of events, through ingest; as often as you like, each event counts once."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from routiium_client.cli import options, show
from routiium_client.cli.lines import Batch, Reader, read_jsonl
from routiium_client.cli.progress import Progress
from routiium_client.cli.service import Failure, explain
from routiium_client.cli.table import read_csv
from routiium_client.transport import Answer, Transport, Unreachable

SENDERS = 3
PATIENCE_SECONDS = 60.0
"""How long ingest may be away before the import ends. A full queue is waited for without end."""
_LONGEST_PAUSE = 5.0
_TELL_EVERY_SECONDS = 30.0
_AWAY = frozenset({502, 503, 504})
_REASONS = 10
_INTERRUPTED = 130


@dataclass(slots=True)
class Tally:
    """What ingest said. `reasons` are the first few: line and what is wrong with it."""

    accepted: int = 0
    rejected: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.reasons = (self.reasons + other.reasons)[:_REASONS]


class Interrupted(Exception):
    """Somebody asked to stop before the batch was taken."""


class Poster:
    """Posts batches from several threads, each over a connection of its own.

    `tell` is called, from any thread, with a sentence for a person when it has to wait.
    """

    def __init__(self, url: str, token: str | None, tell: Callable[[str], None]) -> None:
        self._url = url
        self._token = token
        self._tell = tell
        self._told_at = -math.inf
        self._own = threading.local()
        self._opened: list[Transport] = []
        self.stop = threading.Event()

    def post(self, batch: Batch) -> Tally:
        """Send until ingest has taken it. Raises Failure, or Interrupted after `stop`."""
        body = b"\n".join(line.rstrip(b"\r\n") for line in batch.lines)
        gave_up = time.monotonic() + PATIENCE_SECONDS
        pause = 0.2
        while True:
            answer = self._try(body)
            if isinstance(answer, Answer):
                if answer.status in (202, 422):
                    return _tally(answer, batch)
                if answer.status == 413:
                    return self._halved(batch)
                if answer.status == 429:
                    gave_up = time.monotonic() + PATIENCE_SECONDS
                elif answer.status not in _AWAY:
                    raise Failure(f"ingest at {self._url} {explain(answer)}")
            self._wait(answer, gave_up, pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def close(self) -> None:
        for transport in self._opened:
            transport.close()

    def _try(self, body: bytes) -> Answer | Unreachable:
        try:
            return self._transport.request(
                "POST", "/analytics/events", body, Content_Type="application/x-ndjson"
            )
        except Unreachable as error:
            return error

    def _wait(self, answer: Answer | Unreachable, gave_up: float, pause: float) -> None:
        """Before another try; raises Failure where there were enough, and Interrupted."""
        if isinstance(answer, Answer):
            why = f"ingest at {self._url} {explain(answer)}"
            pause = min(PATIENCE_SECONDS, max(pause, answer.retry_after or 0))
        else:
            why = f"ingest does not answer at {self._url} ({answer})"
        if time.monotonic() > gave_up:
            raise Failure(
                f"{why}; run the same command again when it takes events, and it goes on from here"
            )
        if time.monotonic() > self._told_at + _TELL_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._tell(f"{why}; waiting for it")
        if self.stop.wait(pause):
            raise Interrupted

    def _halved(self, batch: Batch) -> Tally:
        """Post in two what is too large in one; a line that is too large alone is refused."""
        if len(batch.lines) == 1:
            return Tally(rejected=1, reasons=[(batch.numbers[0], "is larger than ingest takes")])
        tally = Tally()
        for half in batch.halves():
            tally.add(self.post(half))
        return tally

    @property
    def _transport(self) -> Transport:
        if not hasattr(self._own, "transport"):
            self._own.transport = Transport(self._url, token=self._token, timeout=60.0)
            self._opened.append(self._own.transport)
        transport: Transport = self._own.transport
        return transport


def _tally(answer: Answer, batch: Batch) -> Tally:
    body: dict[str, Any] = json.loads(answer.body)
    rejected = body.get("rejected") or []
    reasons = [(batch.numbers[one["index"]], one["error"]) for one in rejected[:_REASONS]]
    return Tally(len(batch.lines) - len(rejected), len(rejected), reasons)


class Importer:
    """One file on its way: several batches at once, settled in their order."""

    def __init__(self, poster: Poster, progress: Progress, bar: Bar, task: TaskID) -> None:
        self._poster = poster
        self._progress = progress
        self._bar = bar
        self._task: TaskID = task
        self._under_way: deque[tuple[Future[Tally], Batch]] = deque()
        self.tally = Tally()
        self.line = 0

    def run(self, batches: Iterator[Batch]) -> None:
        """Raises Failure, and KeyboardInterrupt once what is under way has been settled."""
        with ThreadPoolExecutor(SENDERS) as pool:
            try:
                for batch in batches:
                    self._under_way.append((pool.submit(self._poster.post, batch), batch))
                    while len(self._under_way) > SENDERS:
                        self._settle()
                while self._under_way:
                    self._settle()
            except BaseException:
                self._poster.stop.set()
                self._settle_what_is_left()
                raise

    def _settle(self) -> None:
        future, batch = self._under_way[0]
        self.tally.add(future.result())
        # Kept first: between the two an interruption costs nothing but a second look.
        self._progress.keep(batch.end)
        self._under_way.popleft()
        self.line = batch.end.line
        self._bar.update(self._task, completed=batch.end.offset)

    def _settle_what_is_left(self) -> None:
        """Up to the first batch that was not taken: the next run goes on from there."""
        try:
            while self._under_way:
                self._settle()
        except (Failure, Interrupted):
            pass


def import_files(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, metavar="FILE...")],
    restart: Annotated[bool, typer.Option("--restart", help="From the beginning again.")] = False,
    ingest_url: options.IngestUrl = options.DEFAULT_INGEST,
    token: options.Token = None,
    as_json: options.AsJson = False,
) -> None:
    """Import files: Routiium's JSONL, or CSV as an export writes it (by its name, .csv).

    Interrupted and run again it goes on where it was. Events that were imported before stay one
    event each; a line without an id is known by what it says.
    """
    # An empty post: URL and token are looked at before anything is read.
    options.ingest(ingest_url, token).post("/analytics/events", [])
    total = Tally()
    began = time.monotonic()
    with _bar(shown=not as_json) as bar:
        for path in files:
            total.add(_import_file(path, restart, ingest_url, token, bar))
    _report(total, time.monotonic() - began, as_json)


def _import_file(path: Path, restart: bool, url: str, token: str | None, bar: Bar) -> Tally:
    read: Reader = read_csv if path.suffix.lower() == ".csv" else read_jsonl
    task = bar.add_task(path.name, total=path.stat().st_size or 1)
    with open(path, "rb") as file:
        progress = Progress(file, path, url)
        if restart:
            progress.forget()
        place = progress.place()
        bar.update(task, completed=place.offset)
        poster = Poster(url, token, lambda text: _tell(bar, text))
        importer = Importer(poster, progress, bar, task)
        try:
            with closing(poster):
                importer.run(read(file, place))
        except KeyboardInterrupt:
            raise Failure(
                f"interrupted after line {max(importer.line, place.line):,} of {path}; "
                "run the same command again, and it goes on from there",
                status=_INTERRUPTED,
            ) from None
        except Failure as failure:
            raise Failure(f"{path}: {failure}") from None
    return importer.tally


def _tell(bar: Bar, text: str) -> None:
    """Above the bar. With --json there is none, and what is printed is for programs alone."""
    if not bar.disable:
        bar.console.print(text, markup=False)


def _bar(*, shown: bool) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=show.console(error=True),
        disable=not shown,
    )


def _report(total: Tally, seconds: float, as_json: bool) -> None:
    lines = total.accepted + total.rejected
    if not lines and not as_json:
        show.console().print("nothing new since the last import; --restart imports it all again")
    elif as_json:
        reasons = [{"line": line, "error": error} for line, error in total.reasons]
        show.print_json(
            {
                "accepted": total.accepted,
                "rejected": total.rejected,
                "reasons": reasons,
                "seconds": round(seconds, 3),
            }
        )
    else:
        out = show.console()
        out.print(f"{lines:,} lines in {seconds:.1f} s, {lines / seconds:,.0f} lines/s")
        out.print(f"{total.accepted:,} taken, {total.rejected:,} refused")
        for line, error in total.reasons:
            out.print(f"  line {line:,}: {error}", markup=False)
    if total.rejected:
        raise typer.Exit(1)
