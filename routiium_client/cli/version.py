"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version that is installed; `unknown` in a bare checkout."""
    try:
        return version("routiium-analytics")
    except PackageNotFoundError:
        return "unknown"
