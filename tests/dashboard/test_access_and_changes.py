"""Tokens, clear, replay, live refresh; and what the page says when there is nothing to show."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.stream import DEAD
from tests.dashboard.driving import Dashboard
from tests.harness import Pipeline, event

pytestmark = pytest.mark.long

READ, ADMIN = "read-token-1", "admin-token-1"
BEARER = {"Authorization": f"Bearer {READ}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("guarded")
    with Pipeline(folder, QUERY_TOKENS=READ, ADMIN_TOKENS=ADMIN, INGEST_TOKENS="in-1") as running:
        running.http.headers.update(BEARER)
        yield running


def _post(pipeline: Pipeline, *numbers: int, **changes: Any) -> None:
    now = int(time.time())
    before = pipeline.total()
    events = [{**event(number, **changes), "timestamp": now - 30} for number in numbers]
    answer = pipeline.post(events, headers={"Authorization": "Bearer in-1"})
    assert answer.status_code == 202
    pipeline.wait_for_total(before + len(numbers))


def _enter(dashboard: Dashboard, token: str, name: str = "token") -> None:
    dashboard.page.fill(f"dialog input[name={name}]", token)
    dashboard.page.click("dialog button[type=submit]")


def test_a_token_is_asked_for_kept_in_the_session_and_forgotten(
    chrome: Any, guarded: Pipeline
) -> None:
    _post(guarded, 1, 2, 3)
    with Dashboard(chrome, guarded.query_url, refusals=(401,)) as dashboard:
        page = dashboard.page
        page.goto(dashboard.url)
        page.wait_for_selector("dialog")
        assert "asks for a token" in dashboard.text("dialog")
        _enter(dashboard, "wrong-token")
        page.wait_for_selector("dialog:has-text('not known')")
        _enter(dashboard, READ)
        dashboard.settled()
        assert dashboard.figure("requests") == "3"
        assert dashboard.text("#notice") == ""

        page.reload()
        dashboard.settled()
        assert dashboard.figure("requests") == "3"
        assert page.evaluate("Object.values(sessionStorage)") == [READ]
        assert page.evaluate("Object.values(localStorage)") == []
        assert READ not in page.content() + page.url
        assert len(dashboard.saved("#events .section-head button").splitlines()) == 4

        page.click("#menu summary")
        page.click("#token")
        page.click("dialog button:text('Forget the token')")
        page.wait_for_selector("dialog:has-text('asks for a token')")
        assert page.evaluate("sessionStorage.length") == 0


def _signed_in(chrome: Any, pipeline: Pipeline, *refusals: int) -> Dashboard:
    dashboard = Dashboard(chrome, pipeline.query_url, refusals=(401, *refusals))
    dashboard.page.goto(dashboard.url)
    _enter(dashboard, READ)
    dashboard.settled()
    dashboard.page.click("#live")
    return dashboard


def _bury(pipeline: Pipeline, *numbers: int) -> None:
    """Dead letters as a worker leaves them."""
    with pipeline.redis() as client:
        for number in numbers:
            letter = {**event(number), "timestamp": int(time.time()) - 5}
            fields: dict[Any, Any] = {
                "id": f"event-{number}",
                "reason": f"the store refused <b>{number}</b>",
                "at": time.time(),
                "source": "native",
                "attempts": 5,
                "payload": msgspec.msgpack.encode([["native", [letter]]]),
            }
            client.xadd(DEAD, fields)


def test_dead_letters_are_read_and_replayed_by_an_admin(chrome: Any, guarded: Pipeline) -> None:
    before = guarded.total()
    _bury(guarded, 71, 72, 73)
    with _signed_in(chrome, guarded, 403) as dashboard:
        page = dashboard.page
        assert dashboard.text("#fact-dead-letters .fact-value") == "3"
        assert dashboard.text("#health") == "3 dead letters"
        assert dashboard.texts(".letter-reason")[0] == "the store refused <b>73</b>"
        page.click(".letters summary >> nth=0")
        shown = json.loads(dashboard.text(".letters pre >> nth=0"))
        assert shown["id"] == "event-73"

        page.click(".letters button >> nth=0")
        _enter(dashboard, READ, "admin")
        page.wait_for_selector("dialog [role=alert]:has-text('lacks the admin right')")
        _enter(dashboard, ADMIN, "admin")
        page.wait_for_selector(".letters li:nth-child(3)", state="detached")
        guarded.wait_for_total(before + 1)
        page.click("button:text('Replay all')")
        _enter(dashboard, ADMIN, "admin")
        page.wait_for_selector(".letters li", state="detached")
        guarded.wait_for_total(before + 3)
        assert guarded.get("dead-letters")["total"] == 0
        # The admin's token was for those calls alone.
        assert page.evaluate("Object.values(sessionStorage)") == [READ]


def test_clear_asks_twice_and_needs_the_admin(chrome: Any, guarded: Pipeline) -> None:
    _post(guarded, 11, 12)
    total = guarded.total()
    with _signed_in(chrome, guarded, 403) as dashboard:
        page = dashboard.page
        page.click("#menu summary")
        page.click("#clear")
        assert f"deletes all {total} events" in dashboard.text("dialog")
        page.click("dialog button:text('Keep everything')")
        page.click("#menu summary")
        page.click("#clear")
        page.click("dialog button:text('Go on')")
        _enter(dashboard, ADMIN, "admin")
        # Without the word nothing was sent.
        assert page.locator("dialog input:invalid").count() == 1
        page.fill("dialog input[name=word]", "clear")
        _enter(dashboard, READ, "admin")
        page.wait_for_selector("dialog [role=alert]:has-text('lacks the admin right')")
        assert guarded.total() == total
        _enter(dashboard, ADMIN, "admin")
        page.wait_for_selector("#events .empty-title")

        assert guarded.total() == 0
        assert dashboard.figure("requests") == "0"
        assert "The store is empty" in dashboard.text("#events .empty")
        assert "curl http" in dashboard.text("#events pre")


def test_new_events_come_by_themselves_until_it_is_paused(tmp_path: Path, chrome: Any) -> None:
    with Pipeline(tmp_path) as pipeline:
        _post(pipeline, 1)
        with Dashboard(chrome, pipeline.query_url) as dashboard:
            page = dashboard.open(live=True).page
            _post(pipeline, 2)
            page.wait_for_selector("#events tr[data-id=event-2]", timeout=60_000)
            assert dashboard.figure("requests") == "2"

            page.click("#live")
            assert (dashboard.text("#live"), page.get_attribute("#live", "aria-pressed")) == (
                "Paused",
                "false",
            )
            _post(pipeline, 3)
            asked = len(dashboard.requests)
            page.wait_for_timeout(6_500)
            assert len(dashboard.requests) == asked
            page.click("#live")
            page.wait_for_selector("#events tr[data-id=event-3]", timeout=60_000)

            page.click("#live")
            dashboard.settled()
            _post(pipeline, 4)
            dashboard.click("#refresh")
            assert dashboard.figure("requests") == "4"


def test_an_empty_range_leads_to_where_events_are(tmp_path: Path, chrome: Any) -> None:
    with Pipeline(tmp_path) as pipeline:
        assert pipeline.post([event(5)]).status_code == 202
        pipeline.wait_for_total(1)
        with Dashboard(chrome, pipeline.query_url) as dashboard:
            dashboard.open()
            assert dashboard.figure("requests") == "0"
            assert dashboard.text("#requests .plot-message") == "No requests in this range"
            dashboard.click("#events button:text('Show the day before it')")
            assert dashboard.figure("requests") == "1"
            dashboard.page.goto(f"{pipeline.query_url}/?model=nothing")
            dashboard.settled()
            dashboard.click("#events button:text('Remove all filters')")
            assert dashboard.query == {}


def test_a_service_that_went_away_is_said_and_found_again(tmp_path: Path, chrome: Any) -> None:
    with Pipeline(tmp_path) as pipeline:
        _post(pipeline, 1)
        with Dashboard(chrome, pipeline.query_url) as dashboard:
            page = dashboard.open().page
            [service] = pipeline.running("query")
            service.terminate()
            page.click("#refresh")
            dashboard.settled("failed")
            assert "does not answer" in dashboard.text("#notice")
            # What was known is still shown.
            assert dashboard.figure("requests") == "1"

            pipeline.start_query()
            pipeline.wait_ready()
            dashboard.click("#notice button")
            assert dashboard.text("#notice") == ""
            dashboard.said[:] = [text for text in dashboard.said if "net::ERR" not in text]
