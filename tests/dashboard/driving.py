"""A browser on the dashboard: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness import Pipeline

ZONE = "Europe/Berlin"
READY_MS = 20_000
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The path of the system's Chromium; skip by name where it is missing, fail in CI."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    message = "Chromium is not installed (apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window; it shows our own page alone, so it needs no sandbox."""
    path = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("playwright is not installed (make test-long installs it)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


class Dashboard:
    """One tab on the dashboard of a pipeline; a context manager that closes it.

    It notes what the console says and which hosts are asked, and at its end both must be clean.
    `refusals`: statuses that a test provokes, which the console tells of too.
    """

    def __init__(
        self, browser: Any, url: str, *, refusals: tuple[int, ...] = (), **options: Any
    ) -> None:
        settings = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
        zone = {"timezone_id": ZONE, "locale": "en-GB"}
        self.context = browser.new_context(**{**settings, **zone, **options})
        self.page = self.context.new_page()
        self.url = url
        self.said: list[str] = []
        self.requests: list[Any] = []
        self._refusals = refusals
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.context.close()
        if kind is None:
            expected = tuple(f"the server responded with a status of {s}" for s in self._refusals)
            unforeseen = [text for text in self.said if not any(e in text for e in expected)]
            assert unforeseen == []
            assert self.hosts() <= {urlsplit(self.url).netloc}

    def hosts(self) -> set[str]:
        """Whom the page has asked; a blob is the page's own memory."""
        urls = [urlsplit(request.url) for request in self.requests]
        return {url.netloc for url in urls if url.scheme not in ("blob", "data")}

    def open(self, query: str = "", *, live: bool = False) -> Self:
        """Go to the page and wait for its figures; without `live` it then stands still."""
        self.page.goto(f"{self.url}/{query}")
        self.settled()
        if not live:
            self.page.click("#live")
        return self

    def settled(self, state: str = "ready") -> None:
        """Wait until everything that was asked for is shown."""
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=READY_MS)

    def click(self, selector: str) -> None:
        """Click what asks for another view, and wait for it."""
        self.page.click(selector)
        self.settled()

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector)).strip()

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def figure(self, name: str) -> str:
        """The large figure with this name, without its comparison."""
        return str(self.page.eval_on_selector(f"#figure-{name} .value", "e => e.firstChild.data"))

    @property
    def period(self) -> dict[str, int]:
        """`start` and `end` of what is shown."""
        data = self.page.eval_on_selector("#period", "e => ({...e.dataset})")
        return {name: int(data[name]) for name in ("start", "end")}

    @property
    def query(self) -> Mapping[str, list[str]]:
        return parse_qs(urlsplit(self.page.url).query)

    def table(self, chart: str) -> list[list[str]]:
        """The rows of a chart as the table that it can be."""
        if self.page.is_hidden(f"#{chart} .plot-table"):
            self.page.click(f"#{chart} button:text('Table')")
        rows = self.page.locator(f"#{chart} .plot-table tbody tr")
        return [row.split("\t") for row in rows.all_inner_texts()]

    def saved(self, selector: str) -> str:
        """The text of the file that a click saves."""
        with self.page.expect_download() as started:
            self.page.click(selector)
        return str(started.value.path().read_bytes().decode())


def figures(pipeline: Pipeline, dashboard: Dashboard, **filters: Any) -> Any:
    """What the API says of the period that is shown."""
    return pipeline.get("aggregate", **dashboard.period, **filters)


def assert_figures(pipeline: Pipeline, dashboard: Dashboard, **filters: Any) -> int:
    """The large figures are the API's; returns how many requests those are of."""
    found = figures(pipeline, dashboard, **filters)
    requests = found["total_requests"]
    assert dashboard.figure("requests") == f"{requests:,}"
    cost = float(dashboard.figure("cost").removeprefix("$").replace(",", ""))
    assert cost == pytest.approx(found["total_cost"], rel=0.05, abs=0.006)
    rate = 100 * found["failed_requests"] / requests
    assert float(dashboard.figure("errors").rstrip("%")) == pytest.approx(rate, abs=0.06)
    return int(requests)
