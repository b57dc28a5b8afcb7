"""Made-up traffic of a realistic shape: skewed models and keys, log-normal durations, some errors.

The same count and seed give the same events, so every store is loaded with the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.events import (
    Auth,
    Cost,
    Event,
    Performance,
    Request,
    Response,
    Routing,
    TokenUsage,
)

DAYS = 30
END = 1_769_817_599
"""2026-01-30T23:59:59Z: the newest event; the first is `DAYS` earlier."""
BATCH = 10_000

BACKENDS = ("openai", "anthropic", "google", "bedrock")
MODELS = tuple(
    (f"{family}-{size}", BACKENDS[number % len(BACKENDS)], 0.1 * (number + 1))
    for number, (family, size) in enumerate(
        (family, size)
        for size in ("mini", "small", "medium", "large", "max")
        for family in ("gpt", "claude", "gemini", "nova")
    )
)
ENDPOINTS = (
    ("/v1/chat/completions", "chat"),
    ("/v1/responses", "responses"),
    ("/v1/messages", "messages"),
    ("/v1/embeddings", "embeddings"),
)
STATUSES = (200, 429, 500, 400, 401, 503)
KEYS = 200


def _skewed(count: int, exponent: float) -> np.ndarray[Any, Any]:
    weights = 1 / np.arange(1, count + 1) ** exponent
    return weights / weights.sum()  # type: ignore[no-any-return]


@dataclass
class Totals:
    """What the events add up to."""

    requests: int = 0
    successful: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    models: Counter[str] = field(default_factory=Counter)

    def add(self, events: list[Event]) -> None:
        for event in events:
            usage, cost, response = event.token_usage, event.cost, event.response
            assert usage is not None
            assert cost is not None
            assert response is not None
            self.requests += 1
            self.successful += bool(response.success)
            self.input_tokens += usage.prompt_tokens
            self.output_tokens += usage.completion_tokens
            self.cost += cost.total_cost or 0.0
            self.models[str(event.request.model)] += 1


class Traffic:
    """`count` events, spread evenly over `DAYS` days that end at `END`, in order of time."""

    def __init__(self, count: int, *, seed: int = 1) -> None:
        self.count = count
        self._seed = seed

    def batches(self, size: int = BATCH) -> Iterator[list[Event]]:
        for first in range(0, self.count, size):
            yield self._batch(first, min(size, self.count - first))

    def _batch(self, first: int, size: int) -> list[Event]:
        random = np.random.default_rng((self._seed, first))
        start = END - DAYS * 86_400 + 1
        times = start + (np.arange(first, first + size) * (DAYS * 86_400) // self.count)
        prompt = random.lognormal(6.5, 1.2, size).astype(int) + 1
        columns = (
            range(first, first + size),
            times.tolist(),
            random.choice(len(MODELS), size, p=_skewed(len(MODELS), 1.1)).tolist(),
            random.choice(len(ENDPOINTS), size, p=(0.7, 0.15, 0.1, 0.05)).tolist(),
            random.choice(STATUSES, size, p=(0.955, 0.02, 0.01, 0.008, 0.004, 0.003)).tolist(),
            random.choice(KEYS, size, p=_skewed(KEYS, 1.0)).tolist(),
            (random.random(size) < 0.6).tolist(),
            np.round(random.lognormal(6.8, 0.9, size), 3).tolist(),
            prompt.tolist(),
            (random.lognormal(5.0, 1.0, size).astype(int) + 1).tolist(),
            (prompt * random.choice((0.0, 0.5), size)).astype(int).tolist(),
        )
        return [_event(*row) for row in zip(*columns, strict=True)]


def _event(
    number: int,
    timestamp: int,
    model_number: int,
    endpoint_number: int,
    status: int,
    key: int,
    stream: bool,
    duration: float,
    prompt: int,
    completion: int,
    cached: int,
) -> Event:
    model, backend, price = MODELS[model_number]
    endpoint, mode = ENDPOINTS[endpoint_number]
    success = status == 200
    completion = completion if success else 0
    input_cost, output_cost = prompt * price / 1e6, completion * price * 4 / 1e6
    return Event(
        id=f"evt-{number:012d}",
        timestamp=timestamp,
        request=Request(
            endpoint=endpoint,
            method="POST",
            model=model,
            stream=stream,
            size_bytes=prompt * 4,
            message_count=1 + number % 9,
            user_agent="openai-python/1.54.0",
            client_ip=f"10.0.{key}.{number % 250}",
        ),
        response=Response(
            status_code=status,
            size_bytes=completion * 4,
            success=success,
            error_message=None if success else f"upstream answered {status}",
        ),
        performance=Performance(
            duration_ms=duration,
            ttfb_ms=round(duration / 5, 3) if stream else None,
            upstream_duration_ms=round(duration * 0.95, 3),
            tokens_per_second=completion * 1_000 / duration,
        ),
        auth=Auth(
            authenticated=True,
            api_key_id=f"key_{key:016x}",
            api_key_label=f"team-{key % 25}",
            auth_method="bearer",
        ),
        routing=Routing(backend=backend, upstream_mode=mode),
        token_usage=TokenUsage(prompt, completion, prompt + completion, cached),
        cost=Cost(
            input_cost=input_cost,
            output_cost=output_cost,
            total_cost=input_cost + output_cost,
            pricing_model=model,
        ),
    )
