"""schemathesis asks both services, as they run, for what their OpenAPI documents promise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import tool
from tests.harness import Pipeline, Service, event

MINUTES = 4

pytestmark = [pytest.mark.long, pytest.mark.timeout(60 * (MINUTES + 2))]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline that has something to tell."""
    with Pipeline(tmp_path_factory.mktemp("contract")) as running:
        now = int(time.time())
        running.post([event(n, timestamp=now - n) for n in range(50)])
        running.wait_for_total(50)
        yield running


def _ask(folder: Path, url: str, *options: str) -> None:
    """Run schemathesis' own command with every check; what it says is the failure."""
    command = [tool("st", "schemathesis"), "run", f"{url}/openapi.json", "--checks", "all"]
    bounds = ["--max-examples", "20", "--continue-on-failure", "--no-color", "--warnings", "off"]
    env = {"SCHEMATHESIS_HOOKS": "tests.contract.hooks", "PATH": os.environ["PATH"]}
    folder.mkdir()
    asking = Service("st", [*command, *bounds, *options], env, folder)
    status = asking.process.wait(60 * MINUTES)
    assert status == 0, asking.output()[-6_000:]
    assert "Tested: " in asking.output()


def test_the_query_service_keeps_what_its_document_promises(busy: Pipeline, folder: Path) -> None:
    _ask(folder / "st", busy.query_url)


def test_ingest_keeps_what_its_document_promises(busy: Pipeline, folder: Path) -> None:
    _ask(folder / "st", busy.ingest_url)
    assert busy.logs().count('"unexpected error"') == 0
