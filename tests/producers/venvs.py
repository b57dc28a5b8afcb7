"""Producers in virtual environments of their own: what they need must not meet what we need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of `.venv-<name>`, made once and kept while the requirements stay."""
    folder = ROOT / f".venv-{name}"
    python, stamp = folder / "bin/python", folder / "requirements.txt"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*install, *requirements], check=True)
        stamp.write_text(wanted)
    return python


def packages_of(python: Path) -> Path:
    """Where the environment of `python` keeps its packages."""
    [folder] = python.parent.parent.glob("lib/python*/site-packages")
    return folder
