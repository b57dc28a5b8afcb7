"""Every metric of ingest, named and explained in one place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class IngestMetrics:
    """The metrics of one ingest process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "routiium_ingest_events",
            "Events by what became of them: accepted or rejected",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.responses = Counter(
            "routiium_ingest_responses",
            "Answers to posted events by HTTP status",
            ["source", "status"],
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "routiium_ingest_commit_seconds",
            "Time a request waits until the broker has its events",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )
