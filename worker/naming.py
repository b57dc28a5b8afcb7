"""The name of a worker in the consumer group: its machine, its process, and a random part."""

from __future__ import annotations

import os
import secrets
import socket
from typing import NamedTuple


class Origin(NamedTuple):
    """Where a worker runs."""

    host: str
    pid: int


def new_name() -> str:
    """A name that no other worker has or had."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def origin_of(name: str) -> Origin | None:
    """Where the worker of this name runs, or None where the name is not one of `new_name`."""
    host, _, rest = name.rpartition("-")[0].rpartition("-")
    return Origin(host, int(rest)) if host and rest.isdecimal() else None
