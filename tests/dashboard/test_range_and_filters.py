"""What is looked at: ranges, filters, and their address."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.dashboard.driving import ZONE, Dashboard, assert_figures
from tests.dashboard.traffic import KEYS
from tests.harness import Pipeline

pytestmark = pytest.mark.long

HOUR, DAY = 3_600, 86_400
PICKS = {"model": "gpt-4o", "endpoint": "/v1/messages", "backend": "openai"}


def test_the_large_figures_are_the_apis(board: Pipeline, dashboard: Dashboard) -> None:
    assert assert_figures(board, dashboard) > 50


@pytest.mark.parametrize(("name", "span"), [("1h", HOUR), ("7d", 7 * DAY), ("30d", 30 * DAY)])
def test_a_range_is_picked(board: Pipeline, dashboard: Dashboard, name: str, span: int) -> None:
    dashboard.click(f"#ranges input[value='{name}']")

    assert dashboard.period["end"] - dashboard.period["start"] == span
    assert dashboard.query == {"range": [name]}
    assert_figures(board, dashboard)
    dashboard.page.go_back()
    dashboard.settled()
    assert dashboard.period["end"] - dashboard.period["start"] == DAY


def test_an_own_range_is_of_the_viewers_zone(board: Pipeline, dashboard: Dashboard) -> None:
    start, end = dashboard.period["end"] - 5 * HOUR, dashboard.period["end"] - 2 * HOUR
    dashboard.page.click("#own-range")
    for name, moment in (("end", start - 1), ("start", start)):
        dashboard.page.fill(f"dialog input[name={name}]", _local(moment))
    dashboard.page.click("dialog button[type=submit]")
    assert "must be after the start" in dashboard.text("dialog [role=alert]")
    dashboard.page.fill("dialog input[name=end]", _local(end))
    dashboard.click("dialog button[type=submit]")

    assert dashboard.period == {"start": start, "end": end}
    assert dashboard.query == {"start": [str(start)], "end": [str(end)]}
    assert_figures(board, dashboard)


def _local(moment: int) -> str:
    return datetime.fromtimestamp(moment, ZoneInfo(ZONE)).strftime("%Y-%m-%dT%H:%M:%S")


def test_dragging_over_a_chart_looks_closer(board: Pipeline, dashboard: Dashboard) -> None:
    before = dashboard.period
    dashboard.page.locator("#latency .plot").scroll_into_view_if_needed()
    box = dashboard.page.locator("#latency .plot").bounding_box()
    dashboard.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 90)
    dashboard.page.mouse.down()
    dashboard.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 90, steps=4)
    dashboard.page.mouse.up()
    dashboard.settled()

    shown = dashboard.period
    assert before["start"] < shown["start"] < shown["end"] < before["end"]
    assert (shown["end"] + 1 - shown["start"]) % 900 == 0
    assert_figures(board, dashboard)


@pytest.mark.parametrize(("by", "value"), [*PICKS.items(), ("api_key_id", None)])
def test_a_click_filters_and_its_chip_takes_it_back(
    board: Pipeline, dashboard: Dashboard, by: str, value: str | None
) -> None:
    everything = assert_figures(board, dashboard)
    others = dashboard.texts(f"#top-{by} tbody th")
    pick = f"#top-{by} .pick" + (f":text-is('{value}')" if value else " >> nth=0")
    value = value or dashboard.page.get_attribute(pick, "title")
    dashboard.click(pick)

    assert dashboard.query == {by: [value]}
    assert dashboard.page.get_attribute(".chip", "title") == value
    assert 0 < assert_figures(board, dashboard, **{by: value}) < everything
    # The other values can still be picked.
    assert dashboard.texts(f"#top-{by} tbody th") == others
    _assert_events(board, dashboard, **{by: value})
    dashboard.click(".chip")
    assert dashboard.query == {}
    assert assert_figures(board, dashboard) == everything


def _assert_events(board: Pipeline, dashboard: Dashboard, **filters: Any) -> None:
    expected = board.get("events", limit=25, **dashboard.period, **filters)["events"]
    rows = dashboard.page.locator("#events tbody tr")
    assert rows.evaluate_all("rows => rows.map(row => row.dataset.id)") == [
        event["id"] for event in expected
    ]


def test_values_of_a_filter_are_added_and_filters_are_combined(
    board: Pipeline, dashboard: Dashboard
) -> None:
    dashboard.click("#ranges input[value='30d']")
    for value in ("gpt-4o", "gpt-4o-mini"):
        dashboard.click(f"#top-model .pick:text-is('{value}')")
    dashboard.click("#figure-errors button")

    filters = {"model": ["gpt-4o", "gpt-4o-mini"], "success": "false"}
    assert dashboard.query == {"range": ["30d"], "success": ["false"], "model": filters["model"]}
    shown = dashboard.figure("requests")
    assert shown == f"{board.get('aggregate', **dashboard.period, **filters)['total_requests']:,}"
    assert dashboard.figure("errors") == "100%"
    dashboard.click("#chips button:text('Remove all filters')")
    assert dashboard.query == {"range": ["30d"]}


def test_an_address_holds_a_view_that_can_be_shared(
    chrome: Any, board: Pipeline, dashboard: Dashboard
) -> None:
    dashboard.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dashboard.click("#top-backend .pick:text-is('anthropic')")
    dashboard.click("#sorts input[value=cost]")
    dashboard.page.click("#menu summary")
    dashboard.page.click("#copy-link")
    dashboard.page.wait_for_selector("#updated:text('Link copied')")
    link = dashboard.page.evaluate("navigator.clipboard.readText()")

    with Dashboard(chrome, board.query_url) as other:
        other.open(link.removeprefix(board.query_url + "/"))
        assert other.period == dashboard.period
        assert other.figure("requests") == dashboard.figure("requests")
        assert other.texts(".chip-value") == ["anthropic"]
        assert other.page.is_checked("#sorts input[value=cost]")


def test_where_there_is_no_clipboard_the_link_is_selected(chrome: Any, board: Pipeline) -> None:
    with Dashboard(chrome, board.query_url) as dashboard:
        # As over plain HTTP from another machine.
        dashboard.page.add_init_script(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
        )
        dashboard.open("?model=gpt-4o")
        dashboard.page.click("#menu summary")
        dashboard.page.click("#copy-link")
        shown = dashboard.page.input_value("dialog input")
        period = dashboard.period

        link = f"?model=gpt-4o&start={period['start']}&end={period['end']}"
        assert shown == f"{board.query_url}/{link}"
        assert dashboard.page.evaluate("getSelection().toString()") == shown


def test_keys_go_by_their_labels(dashboard: Dashboard) -> None:
    shown = dashboard.texts("#top-api_key_id .pick")
    assert shown
    assert set(shown) <= set(KEYS)


def test_keys_go_by_their_labels_when_events_come_last(chrome: Any, board: Pipeline) -> None:
    held: list[Any] = []
    with Dashboard(chrome, board.query_url) as dashboard:
        dashboard.page.route("**/analytics/events?*", lambda route: held.append(route))
        dashboard.page.goto(board.query_url)
        dashboard.page.wait_for_selector("#top-api_key_id .pick:text('key_')")
        held.pop().continue_()
        dashboard.page.unroute_all()
        dashboard.settled()
        assert set(dashboard.texts("#top-api_key_id .pick")) <= set(KEYS)


@pytest.mark.parametrize("sort", ["requests", "cost", "tokens", "errors", "p95"])
def test_groups_are_ranked(board: Pipeline, dashboard: Dashboard, sort: str) -> None:
    if sort != "requests":
        dashboard.click(f"#sorts input[value={sort}]")

    for by in ("model", "endpoint", "backend", "api_key_id"):
        top = board.get("top", by=by, sort=sort, limit=8, **dashboard.period)["groups"]
        names = dashboard.page.locator(f"#top-{by} .pick")
        assert names.evaluate_all("all => all.map(e => e.title)") == [g["value"] for g in top]
        requests = dashboard.texts(f"#top-{by} td.col-requests")
        assert requests == [f"{group['requests']:,}" for group in top]
