"""Every metric of ingest, named and explained in one place, and how it is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import falcon
import falcon.asgi
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from shared.docs import METRICS
from shared.entries import Backlog
from shared.errors import QueueUnavailable
from shared.http import Right, Tokens, write_error
from shared.openapi import describe
from shared.stream import EventQueue

from ingest.source import Source


class Tally:
    """A counter's samples as plain numbers, by the values of its labels.

    Requests add to them on the event loop, at a fraction of what a counter with a lock costs.
    """

    def __init__(self, name: str, help_text: str, labels: list[str]) -> None:
        self._name = name
        self._help = help_text
        self._labels = labels
        self.samples: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What Prometheus is told; the registry calls it."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, count in self.samples.items():
            family.add_metric(values, count)
        yield family


class BacklogGauges:
    """The queue as ingest sees it when it is asked: what waits, and the bound at which it is 429.

    Nothing is kept up to date for it while requests are served.
    """

    def __init__(self, bound: Backlog) -> None:
        self._bound = bound
        self._found: Backlog | None = None

    async def look(self, queue: EventQueue) -> None:
        """Ask the broker, for the next `collect`."""
        try:
            self._found = await queue.backlog()
        except QueueUnavailable:
            self._found = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The registry calls it. Without a broker there is no backlog to tell."""
        up = self._found is not None
        yield _gauge("broker_up", "Whether the broker answered this scrape", up)
        yield _gauge(
            "backlog_limit_events",
            "Events in the queue at which ingest refuses",
            self._bound.events,
        )
        yield _gauge(
            "backlog_limit_bytes", "Bytes in the queue at which ingest refuses", self._bound.bytes
        )
        if self._found is not None:
            yield _gauge(
                "backlog_events",
                "Events in the queue that no worker has written yet",
                self._found.events,
            )
            yield _gauge(
                "backlog_bytes", "Bytes of the events that wait in the queue", self._found.bytes
            )


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"routiium_ingest_{name}", meaning, value=value)


class IngestMetrics:
    """The metrics of one ingest process, in a registry of their own.

    `bound` is the backlog at which ingest refuses.
    """

    def __init__(self, bound: Backlog) -> None:
        self.registry = CollectorRegistry()
        self.events = Tally(
            "routiium_ingest_events",
            "Events by what became of them: accepted or rejected",
            ["source", "outcome"],
        )
        self.responses = Tally(
            "routiium_ingest_responses",
            "Answers to posted events by HTTP status",
            ["source", "status"],
        )
        for tally in (self.events, self.responses):
            self.registry.register(tally)
        self.commit_seconds = Histogram(
            "routiium_ingest_commit_seconds",
            "Time of one write to the queue, which carries the events of one or more requests",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )
        self.backlog = BacklogGauges(bound)
        self.registry.register(self.backlog)


class MetricsResource:
    """`GET`: Prometheus text."""

    def __init__(self, metrics: IngestMetrics, queue: EventQueue, tokens: Tokens) -> None:
        self._metrics = metrics
        self._queue = queue
        self._tokens = tokens

    @describe(replace(METRICS, right=Right.ANY))
    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        self._tokens.require(request.get_header("Authorization"), Right.ANY)
        await self._metrics.backlog.look(self._queue)
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest(self._metrics.registry)


class CountErrors:
    """Falcon's error serializer, which also counts errors of posted events by status.

    `sources` maps each path to its source; the paths are bounded, so the series are. What was taken
    is counted where it is answered.
    """

    def __init__(self, metrics: IngestMetrics, sources: Mapping[str, Source]) -> None:
        self._responses = metrics.responses.samples
        self._sources = sources

    def __call__(self, request: Any, response: Any, error: falcon.HTTPError) -> None:
        source = self._sources.get(request.path) if request.method == "POST" else None
        if source is None:
            write_error(request, response, error)
            return
        self._responses[source.name, str(error.status_code)] += 1
        source.replies.failed(request, response, error)
