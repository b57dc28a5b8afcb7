"""`GET /metrics` of the query service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import ROOT, Pipeline, Service, event, wait_until
from tests.query_api.server import QueryServer

GPT = {"model": "gpt-4o", "endpoint": "/v1/chat/completions", "backend": "openai"}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("counted"), QUERY_TOKENS="read", INGEST_TOKENS="in") as p:
        p.http.headers["Authorization"] = "Bearer in"
        p.post([event(n, performance={"duration_ms": 400.0 * n}) for n in range(4)])
        p.post([event(9, response={"status_code": 500})])
        wait_until(lambda: _value(p.query_url, "routiium_llm_requests_total", **GPT) == 5)
        yield p


def _families(url: str) -> dict[str, Metric]:
    answer = httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer read"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def _value(url: str, name: str, **labels: str) -> float | None:
    for family in _families(url).values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def test_traffic_is_told_by_model_endpoint_and_backend(counted: Pipeline) -> None:
    found = {
        sample.name: sample.value
        for family in _families(counted.query_url).values()
        for sample in family.samples
        if family.name.startswith("routiium_llm_") and "le" not in sample.labels
    }
    assert found.pop("routiium_llm_cost_total") > 0
    assert found == {
        "routiium_llm_requests_total": 5,
        "routiium_llm_errors_total": 1,
        "routiium_llm_input_tokens_total": 50,
        "routiium_llm_output_tokens_total": 25,
        "routiium_llm_cached_tokens_total": 0,
        "routiium_llm_unpriced_requests_total": 0,
        "routiium_llm_request_duration_seconds_count": 5,
        "routiium_llm_request_duration_seconds_sum": pytest.approx(0.4 + 0.8 + 1.2 + 0.109),
    }


def test_the_histogram_counts_each_bucket_and_those_below_it(counted: Pipeline) -> None:
    buckets = {
        bound: _value(
            counted.query_url, "routiium_llm_request_duration_seconds_bucket", **GPT, le=bound
        )
        for bound in ("0.1", "0.25", "0.5", "1.0", "2.5", "300.0", "+Inf")
    }
    assert buckets == {"0.1": 1, "0.25": 2, "0.5": 3, "1.0": 4, "2.5": 5, "300.0": 5, "+Inf": 5}


def test_the_pipeline_tells_how_it_is(counted: Pipeline) -> None:
    found = {
        sample.name.removeprefix("routiium_pipeline_"): sample.value
        for family in _families(counted.query_url).values()
        for sample in family.samples
        if family.name.startswith("routiium_pipeline_")
    }
    assert found.pop("progress_age_seconds") < 60
    assert found == {
        "broker_up": 1,
        "backlog_events": 0,
        "backlog_bytes": 0,
        "oldest_pending_seconds": 0,
        "workers_alive": 1,
        "workers_stalled": 0,
        "dead_letters": 0,
        "written_events_total": 5,
        "duplicate_events_total": 0,
        "expired_events_total": 0,
        "dead_lettered_events_total": 0,
        "dropped_dead_letters_total": 0,
        "replayed_dead_letters_total": 0,
    }


def test_every_metric_says_what_it_means_and_names_no_key_and_no_user(counted: Pipeline) -> None:
    families = _families(counted.query_url)

    assert len(families) >= 20
    for family in families.values():
        assert family.documentation.strip()
        for sample in family.samples:
            assert sample.labels.keys() <= {"model", "endpoint", "backend", "route", "status", "le"}


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("wrong", 401), ("in", 403), ("read", 200)]
)
def test_metrics_need_the_query_right(counted: Pipeline, token: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    assert httpx.get(f"{counted.query_url}/metrics", headers=headers).status_code == status


def test_requests_are_counted_by_route_and_status(counted: Pipeline) -> None:
    url, name = counted.query_url, "routiium_query_requests_total"
    read = {"Authorization": "Bearer read"}

    def count(route: str, status: int) -> float:
        return _value(url, name, route=route, status=str(status)) or 0

    kinds = [("/analytics/aggregate", 200), ("/analytics/aggregate", 400), ("none", 404)]
    before = [count(*kind) for kind in kinds]
    for path in ("analytics/aggregate", "analytics/aggregate?limit=3", "nowhere/1", "nowhere/2"):
        httpx.get(f"{url}/{path}", headers=read)

    assert [count(*kind) for kind in kinds] == [before[0] + 1, before[1] + 1, before[2] + 2]
    seconds = "routiium_query_request_duration_seconds_count"
    assert (_value(url, seconds, route="/analytics/aggregate") or 0) >= 2


def test_without_its_broker_a_service_tells_its_own_figures_and_says_so(
    query_server: QueryServer,
) -> None:
    url = str(query_server.http.base_url)
    query_server.get("stats")

    assert _value(url, "routiium_pipeline_broker_up") == 0
    assert (
        _value(url, "routiium_query_requests_total", route="/analytics/stats", status="200")
    ) or 0
    assert "routiium_llm_requests" not in _families(url)


def test_several_processes_of_the_service_count_together(counted: Pipeline, tmp_path: Path) -> None:
    bind = counted.query_url.removeprefix("http://")
    [query] = counted.running("query")
    query.terminate()
    config = str(ROOT / "deploy/gunicorn_query.py")
    command = [sys.executable, "-m", "gunicorn", "-c", config, "--workers", "3"]
    service = Service("three", [*command, "query_api.wsgi:app"], counted.env, tmp_path)
    try:
        wait_until(lambda: _is_live(counted.query_url), what=f"{bind}; {service.log}")
        for _ in range(30):
            # A connection of its own each time, so that any of the three may answer.
            httpx.get(f"{counted.query_url}/nowhere")
        name = "routiium_query_requests_total"
        assert _value(counted.query_url, name, route="none", status="404") == 30
        assert _value(counted.query_url, "routiium_llm_requests_total", **GPT) == 5
    finally:
        service.terminate()
        counted.start_query()


def _is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz/live").status_code == 200
    except httpx.TransportError:
        return False
