"""Charts, tables, events, files, themes and times."""

from __future__ import annotations

import csv
import io
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.dashboard.driving import ZONE, Dashboard
from tests.harness import Pipeline, event, wait_until

pytestmark = pytest.mark.long

TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, svg"))
    .map((e) => e.tagName + e.className + e.id)"""


def _number(text: str) -> float:
    """`1,234`, `1.5K`, `$0.02` or `840 ms` as a number; a dash is nothing."""
    found = re.fullmatch(r"\$?([\d.,]+) ?(K|M|ms|s)?", text)
    if found is None:
        return 0.0
    scale = {"K": 1e3, "M": 1e6, "s": 1e3}.get(found[2] or "", 1)
    return float(found[1].replace(",", "")) * scale


def _rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file)))


def _columns(rows: list[list[str]]) -> list[list[float]]:
    return [[_number(cell) for cell in column] for column in list(zip(*rows, strict=True))[1:]]


def _points(board: Pipeline, dashboard: Dashboard, **more: Any) -> list[Any]:
    points: list[Any] = board.get("timeseries", interval="15m", **dashboard.period, **more)[
        "points"
    ]
    return points


def test_each_chart_is_a_table_of_the_apis_points(board: Pipeline, dashboard: Dashboard) -> None:
    points = _points(board, dashboard)

    rows = dashboard.table("requests")
    succeeded, failed = _columns(rows)
    starts = [datetime.fromtimestamp(point["start"], ZoneInfo(ZONE)) for point in points]
    assert [row[0][-5:] for row in rows] == [start.strftime("%H:%M") for start in starts]
    assert succeeded == [point["successful_requests"] for point in points]
    assert failed == [point["failed_requests"] for point in points]
    for name, column in zip(
        ("input_tokens", "output_tokens"), _columns(dashboard.table("tokens")), strict=True
    ):
        assert column == pytest.approx([point[name] for point in points], rel=0.006)
    for name, column in zip(
        ("p50", "p95", "p99"), _columns(dashboard.table("latency")), strict=True
    ):
        expected = [point["latency_ms"][name] or 0.0 for point in points]
        assert column == pytest.approx(expected, rel=0.006, abs=0.6)


def test_cost_is_told_by_model_and_adds_up(board: Pipeline, dashboard: Dashboard) -> None:
    by_model = board.get("aggregate", **dashboard.period)["cost_by_model"]
    dearest = sorted(by_model, key=by_model.get, reverse=True)[:5]
    rows = dashboard.table("costs")
    columns = _columns(rows)

    names = dashboard.texts("#costs .legend-name")
    assert names == [*dearest, "Other"]
    for name, column in zip(names, columns, strict=False):
        if name != "Other":
            assert sum(column) == pytest.approx(by_model[name], rel=0.05)
    totals = [sum(row) for row in zip(*columns, strict=True)]
    expected = [point["cost"] for point in _points(board, dashboard)]
    assert totals == pytest.approx(expected, rel=0.05, abs=0.02)


def test_the_keys_move_one_cursor_through_all_charts(board: Pipeline, dashboard: Dashboard) -> None:
    points = _points(board, dashboard)
    dashboard.page.focus("#requests .plot")
    for key, index in (("End", -1), ("ArrowLeft", -2), ("Home", 0), ("ArrowRight", 1)):
        dashboard.page.keyboard.press(key)
        said = dashboard.page.get_attribute("#requests .plot", "aria-valuetext")
        point = points[index]
        assert f"Succeeded {point['successful_requests']:,}, Failed" in said
        tokens = dashboard.texts("#tokens .legend b")
        assert _number(tokens[0]) == pytest.approx(point["input_tokens"], rel=0.006)

    dashboard.page.keyboard.press("Escape")
    whole = dashboard.page.get_attribute("#requests .plot", "aria-valuetext")
    assert whole.startswith("Whole range: ")


def test_the_pointer_reads_a_bucket(board: Pipeline, dashboard: Dashboard) -> None:
    dashboard.page.hover("#requests .plot")
    shown = dashboard.page.text_content("#requests .cursor-time")
    points = {
        datetime.fromtimestamp(p["start"], ZoneInfo(ZONE)).strftime("%-d %b, %H:%M"): p
        for p in _points(board, dashboard)
    }
    read = [_number(text) for text in dashboard.texts("#requests .legend b")]
    assert read == [points[shown]["successful_requests"], points[shown]["failed_requests"]]


def test_events_are_read_further_back(board: Pipeline, dashboard: Dashboard) -> None:
    dashboard.page.click("#events button:text('older')")
    dashboard.page.wait_for_selector("#events tbody tr:nth-child(50)")

    expected = board.get("events", limit=50, **dashboard.period)["events"]
    ids = dashboard.page.locator("#events tbody tr").evaluate_all(
        "all => all.map(r => r.dataset.id)"
    )
    assert ids == [event["id"] for event in expected]


OLDER = "#events button:text('older')"
OLDER_PAGES = "**/analytics/events?cursor=*"


def _ask_older_and_hold(dashboard: Dashboard) -> Any:
    """Click for older events; the request, of which the page has no answer yet."""
    held: list[Any] = []
    dashboard.page.route(OLDER_PAGES, lambda route: held.append(route))
    with dashboard.page.expect_request(OLDER_PAGES):
        dashboard.page.click(OLDER)
    wait_until(lambda: dashboard.page.wait_for_timeout(10) or held, what="the request")
    return held[0]


def _shown_ids(dashboard: Dashboard) -> list[str]:
    rows = dashboard.page.locator("#events tbody tr")
    ids: list[str] = rows.evaluate_all("all => all.map(r => r.dataset.id)")
    return ids


def test_older_events_of_another_view_stay_out_of_this_one(
    board: Pipeline, dashboard: Dashboard
) -> None:
    late = _ask_older_and_hold(dashboard)
    dashboard.click("#top-model .pick:text-is('gpt-4o-mini')")
    late.continue_()
    dashboard.page.wait_for_selector(f"{OLDER}:enabled")

    expected = board.get("events", limit=25, model="gpt-4o-mini", **dashboard.period)["events"]
    assert _shown_ids(dashboard) == [event["id"] for event in expected]


def test_events_that_come_while_older_ones_are_read_leave_no_gap(
    tmp_path: Path, chrome: Any
) -> None:
    now = int(time.time())

    def post(numbers: range) -> None:
        before = pipeline.total()
        pipeline.post([event(n, timestamp=now - 200 + n) for n in numbers])
        pipeline.wait_for_total(before + len(numbers))

    with Pipeline(tmp_path) as pipeline:
        post(range(60))
        with Dashboard(chrome, pipeline.query_url) as dashboard:
            dashboard.open("?range=1h")
            late = _ask_older_and_hold(dashboard)
            post(range(60, 64))
            dashboard.click("#refresh")
            late.continue_()
            dashboard.page.wait_for_selector("#events tbody tr:nth-child(50)")
            shown = _shown_ids(dashboard)

    assert shown == [f"event-{n}" for n in reversed(range(10, 64))]


def test_older_events_that_can_not_be_read_are_said(chrome: Any, board: Pipeline) -> None:
    refusal = {"error": {"message": "the store is away", "type": "store_unavailable"}}
    with Dashboard(chrome, board.query_url, refusals=(503,)) as dashboard:
        dashboard.open()
        dashboard.page.route(OLDER_PAGES, lambda route: route.fulfill(status=503, json=refusal))
        dashboard.page.click(OLDER)
        dashboard.page.wait_for_selector("#notice:has-text('The store is away.')")
        assert dashboard.page.is_enabled(OLDER)
        assert dashboard.page.locator("#events tbody tr").count() == 25


def test_a_cost_is_shown_whole_in_a_narrow_table(tmp_path: Path, chrome: Any) -> None:
    costs = {"tiny": 0.000_012_3, "small": 0.012, "large": 98_765.43, "free": 0.0}
    now = int(time.time())
    with Pipeline(tmp_path) as pipeline:
        request = event(0)["request"]
        pipeline.post(
            [
                event(n, timestamp=now - 9, request={**request, "model": m}, cost={"total_cost": c})
                for n, (m, c) in enumerate(costs.items())
            ]
        )
        pipeline.wait_for_total(len(costs))
        for width in (360, 1_024, 1_241, 1_440):
            window = {"width": width, "height": 900}
            with Dashboard(chrome, pipeline.query_url, viewport=window) as dashboard:
                dashboard.open("?range=1h&sort=cost")
                cells = dashboard.page.locator("#top-model td.col-cost")
                assert cells.all_inner_texts() == ["$98.8K", "$0.012", "<$0.01", "$0.00"]
                assert cells.nth(2).get_attribute("title") == "$0.000012"
                wider = cells.evaluate_all("all => all.map(e => e.scrollWidth > e.clientWidth)")
                assert not any(wider), width


def test_an_events_details_hold_all_of_it_and_filter(board: Pipeline, dashboard: Dashboard) -> None:
    [event] = board.get("events", limit=1, **dashboard.period)["events"]
    dashboard.page.locator("#events tbody .pick").first.press("Enter")
    shown = dashboard.text("dialog")

    moment = datetime.fromtimestamp(event["timestamp"], ZoneInfo(ZONE))
    assert moment.strftime("%H:%M:%S CET") in shown
    for part in (event["id"], event["request"]["user_agent"], event["auth"]["api_key_label"]):
        assert part in shown
    dashboard.page.click("dialog summary")
    assert '"api_key_id"' in dashboard.text("dialog pre")
    dashboard.click(f"dialog .facts button:text-is('{event['request']['model']}')")
    assert dashboard.query == {"model": [event["request"]["model"]]}
    assert dashboard.page.locator("dialog").count() == 0


def test_events_are_exported_as_they_are_filtered(board: Pipeline, dashboard: Dashboard) -> None:
    dashboard.click("#top-model .pick:text-is('gpt-4o')")
    dashboard.page.click("#menu summary")
    rows = _rows(dashboard.saved("#export"))
    assert rows == _rows(dashboard.saved("#events .section-head button"))

    found = board.get("aggregate", model="gpt-4o", **dashboard.period)
    assert len(rows) == found["total_requests"]
    assert {row["model"] for row in rows} == {"gpt-4o"}
    cost = sum(float(row["total_cost"]) for row in rows)
    assert cost == pytest.approx(found["total_cost"])


def test_charts_and_rankings_are_saved_as_csv(board: Pipeline, dashboard: Dashboard) -> None:
    chart = _rows(dashboard.saved("#requests button:text('CSV')"))
    points = _points(board, dashboard)
    assert [int(row["Succeeded"]) for row in chart] == [p["successful_requests"] for p in points]
    starts = [int(datetime.fromisoformat(row["start"]).timestamp()) for row in chart]
    assert starts == [point["start"] for point in points]

    keys = _rows(dashboard.saved("#top-api_key_id button:text('CSV')"))
    groups = board.get("top", by="api_key_id", limit=8, **dashboard.period)["groups"]
    assert [(row["api_key_id"], int(row["requests"])) for row in keys] == [
        (group["value"], group["requests"]) for group in groups
    ]


def test_a_theme_is_chosen_and_kept(dashboard: Dashboard) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = dashboard.page.evaluate(ground)
    dashboard.page.click("#menu summary")
    dashboard.page.check("input[name=theme][value=dark]", force=True)
    dark = dashboard.page.evaluate(ground)
    dashboard.page.reload()
    dashboard.settled()

    assert dark != light
    assert dashboard.page.evaluate(ground) == dark
    dashboard.page.click("#menu summary")
    dashboard.page.check("input[name=theme][value=system]", force=True)
    assert dashboard.page.evaluate(ground) == light
    dashboard.page.emulate_media(color_scheme="dark")
    assert dashboard.page.evaluate(ground) == dark


def test_the_viewers_zone_is_named(dashboard: Dashboard) -> None:
    assert dashboard.text("#zone") == "Times in Europe/Berlin (UTC+1)"
    start = datetime.fromtimestamp(dashboard.period["start"], ZoneInfo(ZONE))
    assert dashboard.text("#period").startswith(start.strftime("%-d %b, %H:%M"))


def test_the_pipelines_state_is_the_apis(board: Pipeline, dashboard: Dashboard) -> None:
    state = board.get("pipeline")
    facts = {
        name: dashboard.text(f"#fact-{name} .fact-value")
        for name in ("backlog", "workers", "written", "dead-letters", "lag")
    }
    assert facts == {
        "backlog": "0",
        "workers": "1 of 1 alive",
        "written": f"{state['written_total']:,}",
        "dead-letters": "0",
        "lag": "none",
    }
    assert dashboard.texts("#pipeline tbody th") == [state["workers"][0]["name"]]
    assert dashboard.text("#health") == "Healthy"


def test_nothing_is_wider_than_a_phone(chrome: Any, board: Pipeline) -> None:
    with Dashboard(chrome, board.query_url, viewport={"width": 360, "height": 740}) as phone:
        phone.open()
        assert phone.page.evaluate(TOO_WIDE) == []
        assert phone.page.evaluate("document.documentElement.scrollWidth") == 360
        phone.page.click("#menu summary")
        box = phone.page.locator(".menu-items").bounding_box()
        assert box["x"] >= 0
