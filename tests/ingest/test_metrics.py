"""What ingest counts, as Prometheus reads it; and health for who asks no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.harness import Pipeline, event


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("counted"), workers=0) as running:
        yield running


def samples(counted: Pipeline) -> list[Sample]:
    answer = counted.http.get(f"{counted.ingest_url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]


def by(label: str, name: str, found: list[Sample]) -> dict[str, float]:
    """The native source's samples of one name by one label's value."""
    return {
        sample.labels[label]: sample.value
        for sample in found
        if sample.name == name and sample.labels["source"] == "native"
    }


def test_events_answers_and_writes_are_counted(counted: Pipeline) -> None:
    counted.post([event(1), event(2), {"id": "bad"}])
    counted.post([event(3)])
    counted.post([{"id": "bad"}, 5])
    counted.post([])
    counted.post(None, content=b"{", headers={"Content-Type": "application/json"})
    counted.post(None, content=b"{", headers={"Content-Type": "text/plain"})
    counted.http.get(f"{counted.ingest_url}/analytics/events")
    counted.http.post(f"{counted.ingest_url}/nowhere")

    found = samples(counted)

    events = by("outcome", "routiium_ingest_events_total", found)
    assert events == {"accepted": 3, "rejected": 3}
    answers = by("status", "routiium_ingest_responses_total", found)
    assert answers == {"202": 3, "422": 1, "400": 1, "415": 1}
    [commits] = [s.value for s in found if s.name == "routiium_ingest_commit_seconds_count"]
    assert commits == 2


def test_every_metric_says_what_it_means(counted: Pipeline) -> None:
    text = counted.http.get(f"{counted.ingest_url}/metrics").text

    families = [f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")]
    assert len(families) >= 3
    for family in families:
        assert family.name.startswith("routiium_ingest_")
        assert family.documentation


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz/live", "/healthz/ready"])
def test_a_healthy_ingest_is_live_and_ready(counted: Pipeline, method: str, path: str) -> None:
    answer = counted.http.request(method, counted.ingest_url + path)

    assert answer.status_code == 200
    if method == "GET":
        assert answer.json() == {"status": "ok"}


def _plain(counted: Pipeline) -> dict[str, float]:
    return {sample.name: sample.value for sample in samples(counted) if not sample.labels}


def test_the_backlog_is_told_as_it_is_beside_its_bound(counted: Pipeline) -> None:
    before = _plain(counted)
    counted.post([event(number) for number in range(100, 107)])

    after = _plain(counted)
    assert after["routiium_ingest_broker_up"] == 1
    assert after["routiium_ingest_backlog_events"] == counted.backlog()
    assert after["routiium_ingest_backlog_events"] == before["routiium_ingest_backlog_events"] + 7
    assert after["routiium_ingest_backlog_bytes"] > before["routiium_ingest_backlog_bytes"]
    assert after["routiium_ingest_backlog_limit_events"] == 1_000_000
    assert after["routiium_ingest_backlog_limit_bytes"] == 1_073_741_824


def test_without_its_broker_ingest_tells_the_rest_and_says_so(tmp_path: Path) -> None:
    with Pipeline(tmp_path, workers=0) as lonely:
        lonely.post([event(1)])
        lonely.broker.kill()

        found = _plain(lonely)
        assert found["routiium_ingest_broker_up"] == 0
        assert "routiium_ingest_backlog_events" not in found
        assert by("outcome", "routiium_ingest_events_total", samples(lonely))["accepted"] == 1
