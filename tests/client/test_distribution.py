"""The client as a gateway installs it: alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT


@pytest.mark.long
def test_the_client_installs_and_imports_without_anything_else(folder: Path) -> None:
    source, target = folder / "source", folder / "target"
    shutil.copytree(ROOT / "routiium_client", source)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    subprocess.run([*install, str(source)], check=True)

    found = {path.name for path in target.iterdir() if not path.name.endswith(".dist-info")}
    assert found == {"routiium_client"}
    script = "import routiium_client.asgi, routiium_client.wsgi; print(routiium_client.__file__)"
    isolated = [
        sys.executable,
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(target)!r}); {script}",
    ]
    done = subprocess.run(isolated, check=True, capture_output=True, text=True, cwd=folder)
    assert done.stdout.startswith(str(target))
