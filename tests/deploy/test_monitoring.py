"""Prometheus' configuration, the alert rules and Grafana's dashboard, and the metrics they name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import run, tool
from tests.harness import ROOT, Pipeline, event

pytestmark = pytest.mark.long

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
LABELS = {"model", "endpoint", "backend", "source", "status", "route", "le", "instance", "job"}


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return document


def dashboard_queries() -> list[str]:
    queries = [t["expr"] for panel in dashboard()["panels"] for t in panel.get("targets", [])]
    variables = dashboard()["templating"]["list"]
    return queries + [each["query"]["query"] for each in variables if each["type"] == "query"]


def alert_queries() -> list[str]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def metrics_in(queries: list[str]) -> set[str]:
    return set(re.findall(r"\broutiium_\w+", "\n".join(queries)))


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every series that both services expose once there was traffic of each kind."""
    with Pipeline(tmp_path_factory.mktemp("pipeline")) as pipeline:
        pipeline.post([event(number) for number in range(20)])
        pipeline.post([event(99, response={"status_code": 500})])
        pipeline.wait_for_total(21)
        texts = [
            pipeline.http.get(f"{url}/metrics").text
            for url in (pipeline.ingest_url, pipeline.query_url)
        ]
    return {name for text in texts for name in re.findall(r"^(routiium_\w+)", text, re.MULTILINE)}


def test_prometheus_takes_its_configuration() -> None:
    promtool = tool("promtool", "prometheus")
    run(promtool, "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool = tool("promtool", "prometheus")
    run(promtool, "check", "rules", PROMETHEUS / "alerts.yml")
    run(promtool, "test", "rules", PROMETHEUS / "alerts_test.yml")


@pytest.mark.parametrize("queries", [alert_queries, dashboard_queries])
def test_every_metric_that_is_asked_for_exists(queries: Any, exposed: set[str]) -> None:
    named = metrics_in(queries())
    assert len(named) > 5
    assert named <= exposed


def test_grafana_s_queries_are_promql(tmp_path: Path) -> None:
    """Each as a rule of its own: promtool reads it, and names what it can't."""
    rules = [
        {"record": f"panel:query:{number}", "expr": re.sub(r"\$\w+", "5m", query)}
        for number, query in enumerate(dashboard_queries())
        if not query.startswith("label_values")
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    run(tool("promtool", "prometheus"), "check", "rules", "--lint=none", tmp_path / "rules.yml")


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + column, at["y"] + line)
            for column in range(at["w"])
            for line in range(at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_no_query_groups_by_a_label_that_is_not_there() -> None:
    for query in (*alert_queries(), *dashboard_queries()):
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            assert set(re.split(r",\s*", labels)) <= LABELS, query
