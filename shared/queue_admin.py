"""The queue as an operator sees it: its state, its dead letters, and clearing it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import redis
from redis.exceptions import ResponseError

from shared import stream_scripts as scripts
from shared.broker import asked
from shared.dead_letters import DeadLetters
from shared.entries import Progress, entry_order
from shared.errors import StoreBusy
from shared.pipeline import STALLED_SECONDS, BrokerState, PipelineState, WorkerState
from shared.stream import (
    BACKLOG,
    CLEARED,
    DEAD,
    GROUP,
    STREAM,
    TOTALS,
    TRAFFIC,
    WORKERS,
    WRITING,
)
from shared.traffic import Labels, Sums, Traffic

_progress = msgspec.msgpack.Decoder(Progress)
_labels = msgspec.msgpack.Decoder(Labels)
_sums = msgspec.msgpack.Decoder(Sums)
_TOTALS = ["written", "duplicates", "expired", "dead", "dead_dropped", "replayed"]


class QueueAdmin:
    """The queue as an operator sees it: its state, and clearing it."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self.dead_letters = DeadLetters(client)

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> QueueAdmin:
        client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        return cls(client)

    def close(self) -> None:
        self._redis.close()

    def state(self, *, stalled_seconds: float = STALLED_SECONDS) -> PipelineState:
        """The queue at this moment; ages are by the broker's clock.

        A worker is alive with progress within `stalled_seconds`, or since the broker started.
        """
        pipe = self._redis.pipeline(transaction=True)
        pipe.time()
        pipe.hmget(BACKLOG, ["events", "bytes"])
        pipe.xlen(STREAM)
        pipe.eval(scripts.OLDEST, 1, STREAM)
        pipe.hgetall(WORKERS)
        pipe.hmget(TOTALS, _TOTALS)
        pipe.xlen(DEAD)
        replies = asked(self._redis, pipe.execute)
        return _state(replies, self._broker_state(), stalled_seconds)

    def _broker_state(self) -> BrokerState:
        """What the broker tells of itself; some hosted ones tell less."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.info()
        pipe.config_get("appendfsync")
        info, config = asked(self._redis, pipe.execute, raise_on_error=False)
        return BrokerState.of(
            {} if isinstance(info, ResponseError) else info,
            None if isinstance(config, ResponseError) else config.get("appendfsync"),
        )

    def traffic(self) -> Traffic:
        """What workers have written since the last clear, in no promised order."""
        found = asked(self._redis, self._redis.hgetall, TRAFFIC)
        return [(_labels.decode(key), _sums.decode(sums)) for key, sums in found.items()]

    def drop_all(self, *, wait_seconds: float = 10.0) -> None:
        """Drop all that waits, dead letters and traffic too, and wait for running appends.

        After it no event that was queued before the call will be written. Raises StoreBusy where
        a worker's append outlasts `wait_seconds`, QueueUnavailable where the broker is away.
        """
        keys = [STREAM, CLEARED, BACKLOG, DEAD, TRAFFIC]
        last = asked(self._redis, self._redis.eval, scripts.DROP_ALL, len(keys), *keys, GROUP)
        self._await_writers(entry_order(last.decode()), time.monotonic() + wait_seconds)

    def _await_writers(self, last: tuple[int, int], deadline: float) -> None:
        while busy := self._writers_up_to(last):
            if time.monotonic() > deadline:
                raise StoreBusy(f"{', '.join(busy)} did not finish writing in time")
            time.sleep(0.02)

    def _writers_up_to(self, last: tuple[int, int]) -> list[str]:
        names = [name.decode() for name in asked(self._redis, self._redis.hkeys, WORKERS)]
        keys = [WRITING + name for name in names]
        values = asked(self._redis, self._redis.mget, keys) if keys else []
        return [
            name
            for name, value in zip(names, values, strict=True)
            if value is not None and entry_order(value.decode()) <= last
        ]


def _state(replies: list[Any], broker: BrokerState, stalled_seconds: float) -> PipelineState:
    clock, backlog, entries, oldest, workers, totals, letters = replies
    now = clock[0] + clock[1] / 1e6
    if broker.uptime_seconds is not None and broker.uptime_seconds < stalled_seconds:
        stalled_seconds = float("inf")
    events, size = (max(0, int(value or 0)) for value in backlog)
    written, duplicates, expired, dead, dropped, replayed = (int(value or 0) for value in totals)
    return PipelineState(
        backlog=events,
        backlog_entries=entries,
        backlog_bytes=size,
        oldest_pending_seconds=_age(oldest, now),
        workers=[_worker(name, raw, now, stalled_seconds) for name, raw in sorted(workers.items())],
        dead_letters=letters,
        dead_letters_total=dead,
        dead_letters_dropped=dropped,
        replayed_total=replayed,
        written_total=written,
        duplicates_total=duplicates,
        expired_total=expired,
        broker=broker,
    )


def _age(entry_id: bytes | None, now: float) -> float | None:
    """Seconds since an entry was queued: its id begins with the broker's milliseconds."""
    return None if entry_id is None else _since(entry_order(entry_id.decode())[0] / 1e3, now)


def _since(moment: float, now: float) -> float:
    return round(max(0.0, now - moment), 3)


def _worker(name: bytes, raw: bytes, now: float, stalled_seconds: float) -> WorkerState:
    progress = _progress.decode(raw)
    since = _since(progress.at, now)
    return WorkerState(
        name=name.decode(),
        started=progress.started,
        at=progress.at,
        seconds_since_progress=since,
        last_entry=progress.last_entry,
        written=progress.written,
        duplicates=progress.duplicates,
        trouble=progress.trouble,
        alive=since < stalled_seconds,
    )
