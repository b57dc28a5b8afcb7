"""What an event holds stays text, and everyone can use the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.driving import Dashboard
from tests.harness import Pipeline, event

pytestmark = pytest.mark.long

SCRIPT = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
FOCUSED = "(e => e.id || e.name || e.dataset.focus || e.textContent)(document.activeElement)"
SERIOUS = ("serious", "critical")


def test_html_and_script_in_an_event_show_as_text(tmp_path: Path, chrome: Any) -> None:
    hostile = {
        **event(1),
        "timestamp": int(time.time()) - 10,
        "request": {"endpoint": f"/{SCRIPT}", "model": f"m{SCRIPT}"},
        "response": {"status_code": 500, "error_message": f"e{SCRIPT}"},
        "auth": {"api_key_id": f"k{SCRIPT}", "api_key_label": f"l{SCRIPT}"},
        "routing": {"backend": f"b{SCRIPT}", "upstream_mode": f"u{SCRIPT}"},
        "cost": {"total_cost": 1.0, "currency": SCRIPT, "pricing_model": SCRIPT},
    }
    with Pipeline(tmp_path) as pipeline:
        assert pipeline.post([hostile]).status_code == 202
        pipeline.wait_for_total(1)
        with Dashboard(chrome, pipeline.query_url) as dashboard:
            page = dashboard.open().page
            tops = {"model": "m", "endpoint": "/", "backend": "b", "api_key_id": "l"}
            for by, first in tops.items():
                assert dashboard.text(f"#top-{by} .pick") == first + SCRIPT
                dashboard.click(f"#top-{by} .pick")
            assert dashboard.texts(".chip-value") == [first + SCRIPT for first in tops.values()]
            assert dashboard.text("#costs .legend-name") == f"m{SCRIPT}"
            page.click("#events tbody tr")
            details = dashboard.text("dialog")
            assert all(f"{letter}{SCRIPT}" in details for letter in "mebklu")
            page.wait_for_timeout(300)
            assert page.title() == "Routiium Analytics"
            assert page.locator("main script, main img, dialog script, dialog img").count() == 0


def _problems(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{problem['id']}: {problem['help']} ({problem['nodes'][0]['target']})"
        for problem in found
        if problem["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_problem(board: Pipeline, chrome: Any, theme: str) -> None:
    calm: dict[str, Any] = {"color_scheme": theme, "reduced_motion": "reduce"}
    with Dashboard(chrome, board.query_url, **calm) as dashboard:
        page = dashboard.open("?range=7d&model=gpt-4o&success=false&model=gpt-4o-mini").page
        assert _problems(page) == []
        for chart in ("requests", "latency", "tokens", "costs"):
            page.click(f"#{chart} button:text('Table')")
        page.click("#menu summary")
        assert _problems(page) == []
        page.click("#clear")
        page.click("dialog button:text('Go on')")
        assert _problems(page) == []
        page.keyboard.press("Escape")
        page.click("#events tbody tr >> nth=0")
        assert _problems(page) == []
        page.keyboard.press("Escape")
        page.goto(f"{board.query_url}/?model=nothing")
        dashboard.settled()
        assert _problems(page) == []


def test_all_of_it_is_reached_by_keyboard(dashboard: Dashboard) -> None:
    page = dashboard.page
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    reached: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    for control in ("health", "live", "refresh", "range", "own-range", "sort", "model:gpt-4o"):
        assert control in reached
    # One Tab shows the way past the bar.
    page.reload()
    dashboard.settled()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "figures"


def test_a_refresh_leaves_the_focus_where_it_was(dashboard: Dashboard) -> None:
    for selector in ("#top-model .pick >> nth=1", "#events .pick >> nth=3"):
        dashboard.page.focus(selector)
        held = dashboard.page.evaluate("document.activeElement.dataset.focus")
        dashboard.page.evaluate("document.getElementById('refresh').click()")
        dashboard.settled()
        assert dashboard.page.evaluate("document.activeElement.dataset.focus") == held
