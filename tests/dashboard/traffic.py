"""Made-up traffic that looks like a team's: busy by day, quiet at weekends, one bad hour.

The same `now` gives the same events.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

DAY = 86_400
HOUR = 3_600


class Model(NamedTuple):
    """Prices are USD per million tokens; `pace` is milliseconds for each output token."""

    name: str
    backend: str
    share: float
    input_price: float
    output_price: float
    pace: float


MODELS = (
    Model("gpt-4o-mini", "openai", 34, 0.15, 0.6, 6),
    Model("claude-sonnet-4-5", "anthropic", 24, 3.0, 15.0, 14),
    Model("gpt-4o", "openai", 16, 2.5, 10.0, 11),
    Model("gemini-2.5-flash", "google", 11, 0.3, 2.5, 5),
    Model("claude-haiku-4-5", "anthropic", 8, 1.0, 5.0, 7),
    Model("llama-3.3-70b", "bedrock", 4, 0.72, 0.72, 9),
    Model("text-embedding-3-small", "openai", 3, 0.02, 0.0, 0),
)
KEYS = {
    "support-bot": 30,
    "search": 22,
    "code-review": 17,
    "data-science": 12,
    "mobile-app": 9,
    "nightly-eval": 6,
    "alice": 4,
}
ENDPOINTS = {
    "anthropic": ("/v1/messages", "messages"),
    "bedrock": ("/v1/chat/completions", "bedrock"),
}
AGENTS = ("openai-python/2.8.0", "anthropic-sdk-typescript/0.70.1", "curl/8.14.1")
MISTAKES = {
    529: "overloaded: try again later",
    400: "context length exceeded: 201442 tokens, at most 200000",
    429: "rate limit reached for this organisation; retry after 12 s",
    500: "upstream closed the connection",
}


def traffic(now: int, *, days: int = 30, a_day: int = 6_000, seed: int = 4) -> Iterator[Any]:
    """Events in wire form, the oldest first, the newest within a minute of `now`."""
    chance = random.Random(seed)
    times = []
    for back in range(days):
        end = now - back * DAY
        for _ in range(int(a_day * 0.985**back)):
            moment = end - chance.randrange(DAY)
            if chance.random() < _load(moment):
                times.append(moment)
    for number, moment in enumerate(sorted(times)):
        incident = 4.1 * HOUR < now - moment < 5.2 * HOUR
        yield _event(number, moment, incident, chance)


def _load(moment: int) -> float:
    """How busy it is, 0 to 1: a hump around 14:00 UTC, a third of it at weekends."""
    hour = moment % DAY / HOUR
    hump = 0.18 + 0.82 * math.exp(-(((hour - 13.5) / 4.6) ** 2))
    weekend = (moment // DAY + 4) % 7 in (0, 6)
    return hump * (0.35 if weekend else 1.0)


def _event(number: int, moment: int, incident: bool, chance: random.Random) -> dict[str, Any]:
    model = chance.choices(MODELS, [model.share for model in MODELS])[0]
    label = chance.choices(list(KEYS), list(KEYS.values()))[0]
    failing = incident and model.backend == "anthropic"
    status = _status(failing, chance)
    prompt = int(chance.lognormvariate(6.7, 1.0)) + 8
    output = int(chance.lognormvariate(5.2, 0.8)) + 1 if status == 200 and model.pace else 0
    duration = chance.lognormvariate(5.4, 0.35) + output * model.pace + (9_000 if failing else 0)
    embedding = not model.pace
    endpoint, mode = ENDPOINTS.get(model.backend, ("/v1/chat/completions", "chat"))
    return {
        "id": f"req_{number:06d}",
        "timestamp": moment,
        "request": {
            "endpoint": "/v1/embeddings" if embedding else endpoint,
            "model": model.name,
            "stream": not embedding and chance.random() < 0.7,
            "size_bytes": prompt * 4,
            "message_count": chance.randrange(1, 24),
            "user_agent": chance.choice(AGENTS),
            "client_ip": f"10.4.{chance.randrange(8)}.{chance.randrange(1, 250)}",
        },
        "response": {
            "status_code": status,
            "size_bytes": output * 5 + 120,
            "error_message": "overloaded: try again later"
            if status == 529
            else MISTAKES.get(status),
        },
        "performance": {"duration_ms": round(duration, 1), "ttfb_ms": round(duration * 0.2, 1)},
        "auth": {
            "authenticated": True,
            "api_key_id": f"key_{abs(hash_of(label)):016x}",
            "api_key_label": label,
            "auth_method": "bearer",
        },
        "routing": {"backend": model.backend, "upstream_mode": "embeddings" if embedding else mode},
        "token_usage": {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "cached_tokens": prompt // 2 if chance.random() < 0.4 else 0,
        },
        "cost": {
            "input_cost": prompt * model.input_price / 1e6 if status == 200 else 0.0,
            "output_cost": output * model.output_price / 1e6,
        },
    }


def _status(failing: bool, chance: random.Random) -> int:
    if failing and chance.random() < 0.75:
        return 529
    return chance.choices((200, 429, 400, 500), (98.6, 0.7, 0.4, 0.3))[0]


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return int.from_bytes(text.encode().ljust(8, b".")[:8], "big") * 0x9E3779B97F4A7C15 % 2**63
