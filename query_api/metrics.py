"""Every metric of query_api, named and explained in one place, and how it is read.

`routiium_llm_…` is the gateway's traffic: what workers have written since the broker was new or
cleared, kept in the broker, so that every query_api process says the same.
`routiium_pipeline_…` is the queue and its workers, `routiium_query_…` what this service answered.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from math import inf
from typing import Any

import falcon
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from shared.docs import METRICS
from shared.errors import QueueUnavailable
from shared.http import Right
from shared.openapi import describe
from shared.pipeline import PipelineState
from shared.queue_admin import QueueAdmin
from shared.traffic import DURATION_BOUNDS_MS, Sums, Traffic

from query_api.answers import checked
from query_api.params import Params

logger = logging.getLogger(__name__)

LABELS = ["model", "endpoint", "backend"]
TRAFFIC_COUNTERS: tuple[tuple[str, str, Callable[[Sums], float]], ...] = (
    (
        "routiium_llm_requests",
        "Requests of the gateway that were recorded",
        lambda sums: sums.requests,
    ),
    (
        "routiium_llm_errors",
        "Recorded requests whose response was no success",
        lambda sums: sums.errors,
    ),
    (
        "routiium_llm_input_tokens",
        "Input tokens of recorded requests, cached ones included",
        lambda sums: sums.input_tokens,
    ),
    (
        "routiium_llm_output_tokens",
        "Output tokens of recorded requests, reasoning included",
        lambda sums: sums.output_tokens,
    ),
    (
        "routiium_llm_cached_tokens",
        "Input tokens of recorded requests that were read from a cache",
        lambda sums: sums.cached_tokens,
    ),
    (
        "routiium_llm_cost",
        "Cost of recorded requests, in US dollars unless senders gave another currency",
        lambda sums: sums.cost,
    ),
    (
        "routiium_llm_unpriced_requests",
        "Recorded requests that no price was known for",
        lambda sums: sums.unpriced,
    ),
)
DURATION = ("routiium_llm_request_duration_seconds", "Duration of recorded requests")
PIPELINE_GAUGES: tuple[tuple[str, str, Callable[[PipelineState], float]], ...] = (
    (
        "routiium_pipeline_backlog_events",
        "Events that ingest has accepted and no worker has written yet",
        lambda state: state.backlog,
    ),
    (
        "routiium_pipeline_backlog_bytes",
        "Bytes of the events that are not written yet",
        lambda state: state.backlog_bytes,
    ),
    (
        "routiium_pipeline_oldest_pending_seconds",
        "How long the oldest event that is not written has waited; 0 where none waits",
        lambda state: state.oldest_pending_seconds or 0,
    ),
    (
        "routiium_pipeline_progress_age_seconds",
        "Time since any worker made progress; infinite where there is no worker",
        lambda state: min((each.seconds_since_progress for each in state.workers), default=inf),
    ),
    (
        "routiium_pipeline_workers_alive",
        "Workers that have made progress of late",
        lambda state: sum(each.alive for each in state.workers),
    ),
    (
        "routiium_pipeline_workers_stalled",
        "Workers that are known and have made no progress of late",
        lambda state: sum(not each.alive for each in state.workers),
    ),
    (
        "routiium_pipeline_dead_letters",
        "Dead letters that are kept now",
        lambda state: state.dead_letters,
    ),
)
PIPELINE_COUNTERS: tuple[tuple[str, str, Callable[[PipelineState], float]], ...] = (
    (
        "routiium_pipeline_written_events",
        "Events that workers have written",
        lambda state: state.written_total,
    ),
    (
        "routiium_pipeline_duplicate_events",
        "Events that were in the store already when a worker brought them",
        lambda state: state.duplicates_total,
    ),
    (
        "routiium_pipeline_expired_events",
        "Events whose time to live had ended before a worker could write them",
        lambda state: state.expired_total,
    ),
    (
        "routiium_pipeline_dead_lettered_events",
        "Events that became dead letters",
        lambda state: state.dead_letters_total,
    ),
    (
        "routiium_pipeline_dropped_dead_letters",
        "Dead letters that were pushed out at their bound: these events are lost",
        lambda state: state.dead_letters_dropped,
    ),
    (
        "routiium_pipeline_replayed_dead_letters",
        "Dead letters that were put back on the queue",
        lambda state: state.replayed_total,
    ),
)
BROKER_UP = (
    "routiium_pipeline_broker_up",
    "Whether the broker answered this scrape; without it only routiium_query_ metrics are told",
)


class BrokerCollector:
    """What the broker knows, read anew for each scrape."""

    def __init__(self, queue: QueueAdmin) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """Called by the registry. Where the broker is away its metrics are left out, and say so."""
        try:
            traffic, state = self._queue.traffic(), self._queue.state()
        except QueueUnavailable as error:
            logger.warning("metrics without the broker's", extra={"reason": str(error)})
            yield GaugeMetricFamily(*BROKER_UP, value=0)
            return
        yield GaugeMetricFamily(*BROKER_UP, value=1)
        yield from _traffic_families(traffic)
        yield from _pipeline_families(state)


def _pipeline_families(state: PipelineState) -> Iterator[Metric]:
    for name, meaning, value in PIPELINE_GAUGES:
        yield GaugeMetricFamily(name, meaning, value=value(state))
    for name, meaning, value in PIPELINE_COUNTERS:
        yield CounterMetricFamily(name, meaning, value=value(state))


def _traffic_families(traffic: Traffic) -> Iterator[Metric]:
    for name, meaning, value in TRAFFIC_COUNTERS:
        counter = CounterMetricFamily(name, meaning, labels=LABELS)
        for labels, sums in traffic:
            counter.add_metric(labels, value(sums))
        yield counter
    histogram = HistogramMetricFamily(*DURATION, labels=LABELS)
    bounds = [*(str(bound / 1_000) for bound in DURATION_BOUNDS_MS), "+Inf"]
    for labels, sums in traffic:
        buckets = list(zip(bounds, accumulate(sums.buckets), strict=True))
        histogram.add_metric(labels, buckets, sum_value=sums.duration_ms / 1_000)
    yield histogram


class QueryMetrics:
    """The metrics of this service, and all that a scrape of it shows.

    `shared`: the numbers lie in files that all processes of this service share, as
    prometheus_client's multiprocess mode keeps them.
    """

    def __init__(self, queue: QueueAdmin, *, shared: bool = False) -> None:
        self.registry = CollectorRegistry()
        # Shared metrics are collected from their files; registered as well they would show twice.
        own = None if shared else self.registry
        self.requests = Counter(
            "routiium_query_requests",
            "Requests that query_api has answered, by route and HTTP status",
            ["route", "status"],
            registry=own,
        )
        self.seconds = Histogram(
            "routiium_query_request_duration_seconds",
            "Time from a request to its answer; of an export to the answer's first events",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=own,
        )
        if shared:
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        self.registry.register(BrokerCollector(queue))


class CountRequests:
    """Middleware that counts every request, whatever became of it, and takes its time."""

    def __init__(self, metrics: QueryMetrics, clock: Callable[[], float] = time.perf_counter):
        self._metrics = metrics
        self._clock = clock

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        request.context.began = self._clock()

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: Any, succeeded: bool
    ) -> None:
        # The template of the path, not the path: paths are anyone's to make up.
        route = request.uri_template or "none"
        took = self._clock() - request.context.began
        self._metrics.requests.labels(route, str(response.status_code)).inc()
        self._metrics.seconds.labels(route).observe(took)


class MetricsResource:
    """`GET`: Prometheus text."""

    def __init__(self, metrics: QueryMetrics) -> None:
        self._metrics = metrics

    @describe(replace(checked(METRICS), right=Right.QUERY))
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        Params(request, ())
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest(self._metrics.registry)
