"""A real Prometheus on both services: what it counts is what was sent."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Pipeline, Service, event, free_port, wait_until
from tests.stores.servers import unavailable

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: ingest
    authorization: {{credentials: read}}
    static_configs: [{{targets: ["{ingest}"]}}]
  - job_name: query
    authorization: {{credentials: read}}
    static_configs: [{{targets: ["{query}"]}}]
"""
BATCH, BATCHES = 50, 40
STEADY_SECONDS = 15
BOUND = 20
PER_COMBINATION = 7 + 14
"""Series of one combination of labels: the counters, and the histogram."""
SERIES = "count({__name__=~'routiium_llm_.*'})"


class Prometheus:
    """The machine's Prometheus, scraping a pipeline once a second."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        addresses = {
            "ingest": pipeline.ingest_url.removeprefix("http://"),
            "query": pipeline.query_url.removeprefix("http://"),
        }
        (folder / "prometheus.yml").write_text(CONFIG.format(**addresses))
        command = [_program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=d"]
        command += [f"--web.listen-address={self.url.removeprefix('http://')}"]
        self.service = Service("prometheus", command, {}, folder)

    def query(self, text: str) -> list[Any]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": text}, timeout=10)
        return list(answer.raise_for_status().json()["data"]["result"])

    def value(self, text: str) -> float:
        """Of a query with one result, or 0 where it has none."""
        found = self.query(text)
        return float(found[0]["value"][1]) if found else 0.0

    def scrapes_both(self) -> bool:
        try:
            return self.value("sum(up)") == 2
        except httpx.HTTPError:  # While it starts nobody listens, and then it is a 503.
            return False


def _program(name: str) -> str:
    return shutil.which(name) or unavailable(f"{name} is not on this machine")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("scraped")
    with Pipeline(
        folder, QUERY_TOKENS="read", INGEST_TOKENS="in", METRICS_MAX_COMBINATIONS=str(BOUND)
    ) as running:
        running.http.headers["Authorization"] = "Bearer in"
        yield running


@pytest.fixture(scope="module")
def prometheus(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    running = Prometheus(pipeline, tmp_path_factory.mktemp("prometheus"))
    try:
        wait_until(running.scrapes_both, within=60, what=f"scrapes; {running.service.log}")
        yield running
    finally:
        running.service.terminate()


def _text(url: str) -> str:
    answer = httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer read"})
    assert answer.status_code == 200
    return answer.text


def test_prometheus_counts_the_requests_that_were_sent(
    pipeline: Pipeline, prometheus: Prometheus
) -> None:
    requests = "sum(routiium_llm_requests_total)"
    # A series that begins with its first sample has no increase yet.
    _post(pipeline, range(1))
    wait_until(lambda: prometheus.value(requests) == 1, within=30)
    began = time.monotonic()
    for number in range(BATCHES):
        first = 1 + number * BATCH
        _post(pipeline, range(first, first + BATCH))
        time.sleep(max(0.0, began + (number + 1) * STEADY_SECONDS / BATCHES - time.monotonic()))
    took = time.monotonic() - began
    rate = prometheus.value("sum(rate(routiium_llm_requests_total[10s]))")

    sent = BATCHES * BATCH
    wait_until(lambda: prometheus.value(requests) == 1 + sent, within=30)
    accepted = "sum(routiium_ingest_events_total{outcome='accepted'})"
    # The two services are not scraped in the same moment.
    wait_until(lambda: prometheus.value(accepted) == 1 + sent, within=30)
    assert prometheus.value("routiium_pipeline_written_events_total") == 1 + sent
    assert rate == pytest.approx(sent / took, rel=0.15)
    # PromQL extrapolates an increase to the edges of its window, by up to a scrape at each end.
    increase = prometheus.value("sum(increase(routiium_llm_requests_total[5m]))")
    assert increase == pytest.approx(sent, rel=0.15)
    tokens = prometheus.value("sum(routiium_llm_input_tokens_total)")
    assert tokens == 10 * (1 + sent)


def test_made_up_models_add_no_more_series_than_the_bound(
    pipeline: Pipeline, prometheus: Prometheus
) -> None:
    requests = "sum(routiium_llm_requests_total)"
    before, series = prometheus.value(requests), prometheus.value(SERIES)
    for first in range(0, 10_000, 1_000):
        _post(pipeline, range(10_000 + first, 11_000 + first), made_up=True)
    wait_until(lambda: prometheus.value(requests) == before + 10_000, within=60)

    models = prometheus.query("count by (model) (routiium_llm_requests_total)")
    assert len(models) <= BOUND + 1
    assert "other" in {each["metric"]["model"] for each in models}
    added = prometheus.value(SERIES) - series
    assert 0 < added <= BOUND * PER_COMBINATION


def test_what_both_services_tell_is_clean(pipeline: Pipeline) -> None:
    _post(pipeline, range(3))
    for url in (pipeline.ingest_url, pipeline.query_url):
        command = [_program("promtool"), "check", "metrics"]
        checked = subprocess.run(command, input=_text(url), capture_output=True, text=True)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _post(pipeline: Pipeline, numbers: range, *, made_up: bool = False) -> None:
    events = [event(number) for number in numbers]
    for each in events if made_up else ():
        each["request"]["model"] = f"made-up-{each['id']}"
    answer = pipeline.post(events)
    assert answer.status_code == 202, answer.text
