"""What the gunicorn configurations share: settings read before a port is bound, and logs."""

from __future__ import annotations

import sys
from typing import Any

from shared.errors import SettingsError
from shared.settings import Settings, load_settings
from shared.stores import require_shareable

GRACEFUL_SECONDS = 4
KEEPALIVE_SECONDS = 15


def settings_or_exit(*, own_process: bool = True) -> Settings:
    """The settings, or an end with every problem named, before any port is bound.

    `own_process`: the service does not share its process with the others.
    """
    try:
        settings = load_settings()
        if own_process:
            require_shareable(settings)
    except SettingsError as error:
        sys.exit("\n".join(error.problems))
    return settings


def log_config(level: str) -> dict[str, Any]:
    """Every log line of gunicorn and the application in one form, on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "shared.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }
