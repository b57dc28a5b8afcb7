"""Giving memory back that a large body has used."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any


def _find_trim() -> Callable[[int], Any] | None:
    """glibc's `malloc_trim`; other C libraries give memory back by themselves, or not at all."""
    try:
        trim: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


_trim = _find_trim()


def give_back() -> None:
    """Hand what is free back to the system, which glibc else keeps for the thread that used it."""
    if _trim is not None:
        _trim(0)
