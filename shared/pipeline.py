"""The queue as it is: what waits, who works on it, and what its broker can be trusted with.

Plain values; `shared.queue_admin` reads them from the broker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STALLED_SECONDS = 60.0
"""A worker without progress for so long is not alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker as its last published progress shows it. Times are Unix seconds: `started` by the
    worker's clock, `at` by the broker's.

    A worker makes progress when it has written or dead-lettered events, and about once a second
    when it finds nothing to do. `trouble` says what keeps it from progress, where it knows.
    """

    name: str
    started: float
    at: float
    seconds_since_progress: float
    last_entry: str | None
    written: int
    duplicates: int
    trouble: str | None
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """The broker's own account of itself; None where it does not say."""

    version: str | None
    uptime_seconds: int | None
    used_memory_bytes: int | None
    maxmemory_bytes: int | None
    maxmemory_policy: str | None
    aof_enabled: bool | None
    appendfsync: str | None

    @classmethod
    def of(cls, info: dict[str, Any], appendfsync: str | None = None) -> BrokerState:
        """From the fields of INFO and the setting `appendfsync`."""
        aof = info.get("aof_enabled")
        return cls(
            version=info.get("redis_version"),
            uptime_seconds=info.get("uptime_in_seconds"),
            used_memory_bytes=info.get("used_memory"),
            maxmemory_bytes=info.get("maxmemory"),
            maxmemory_policy=info.get("maxmemory_policy"),
            aof_enabled=None if aof is None else bool(aof),
            appendfsync=appendfsync,
        )

    def warnings(self) -> list[str]:
        """A sentence for each way in which this broker may lose what it has taken."""
        found = []
        if self.maxmemory_policy not in (None, "noeviction"):
            found.append(
                f"the broker's maxmemory-policy is {self.maxmemory_policy}: at its memory limit it "
                "may throw queued events away; set it to noeviction"
            )
        if self.aof_enabled is False:
            found.append(
                "the broker keeps no append-only file: what is queued is lost when it restarts; "
                "set appendonly to yes"
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineState:
    """The queue at one moment.

    `backlog` is events that were accepted and are not written yet, in `backlog_entries` entries of
    the stream and `backlog_bytes` bytes; the first of them has waited `oldest_pending_seconds`.
    `dead_letters` are kept now. Totals count since the broker's data began: `dead_letters_total`
    ever made, `dead_letters_dropped` pushed out at the bound, `replayed_total` put back,
    `expired_total` not written since they had ended by then.
    """

    backlog: int
    backlog_entries: int
    backlog_bytes: int
    oldest_pending_seconds: float | None
    workers: list[WorkerState]
    dead_letters: int
    dead_letters_total: int
    dead_letters_dropped: int
    replayed_total: int
    written_total: int
    duplicates_total: int
    expired_total: int
    broker: BrokerState
