"""What `pip install` of the project brings: everything that a service needs."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from tests.deploy.tools import run
from tests.harness import ROOT

pytestmark = pytest.mark.long

PACKAGES = ("ingest", "query_api", "worker", "shared", "deploy", "routiium_client")
ENDINGS = {".py", ".css", ".js", ".html", ".json", ".svg", ".conf", ".txt"}
NOT_FOR_PYTHON = ("deploy/grafana/", "deploy/systemd/", "deploy/nginx.conf")


def test_the_wheel_holds_every_file_of_every_package(tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in ENDINGS
    }
    missing = {name for name in wanted - held if not name.startswith(NOT_FOR_PYTHON)}
    assert not missing
