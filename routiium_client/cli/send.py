"""`send`: made-up traffic of a realistic shape, through the client that gateways use."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from routiium_client import AnalyticsClient
from routiium_client.cli import options, show
from routiium_client.cli.service import Failure

MODELS = {
    "gpt-4o-mini": ("openai", 40),
    "gpt-4o": ("openai", 20),
    "claude-sonnet-4-5": ("anthropic", 20),
    "gemini-2.5-flash": ("google", 12),
    "claude-opus-4-1": ("anthropic", 5),
    "text-embedding-3-small": ("openai", 3),
}
"""Model to its provider and its share of the requests, in percent."""
_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_AGENTS = ("OpenAI/Python 2.8.0", "OpenAI/JS 6.9.0", "Anthropic/Python 0.75.0", "curl/8.5.0")
_FAILURES = {429: "rate_limit_exceeded", 500: "server_error", 400: "invalid_request_error"}
_KEYS = 25


class Traffic:
    """Events without end; the same seed gives the same ones, apart from their ids and times."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield self._event()

    def _event(self) -> dict[str, Any]:
        pick = self._random
        model = pick.choices(list(MODELS), [share for _, share in MODELS.values()])[0]
        status = pick.choices((200, *_FAILURES), (965, 20, 10, 5))[0]
        prompt = int(pick.lognormvariate(6.5, 1.2)) + 1
        completion = 0 if _embeds(model) else int(pick.lognormvariate(5.0, 1.0)) + 1
        stream = not _embeds(model) and pick.random() < 0.6
        event: dict[str, Any] = {
            "request": self._request(model, prompt, stream),
            "auth": self._auth(),
            "routing": {"backend": MODELS[model][0], "upstream_mode": "chat"},
        }
        if status == 200:
            event["performance"] = self._performance(completion, stream)
            event["response"] = {"status_code": status, "size_bytes": completion * 5}
            event["token_usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "cached_tokens": prompt // 2 if pick.random() < 0.3 else 0,
            }
        else:
            event["performance"] = self._performance(0, False)
            error = {"size_bytes": 250, "error_message": _FAILURES[status]}
            event["response"] = {"status_code": status, **error}
        return event

    def _request(self, model: str, prompt: int, stream: bool) -> dict[str, Any]:
        pick = self._random
        path = _PATHS.get(MODELS[model][0], _PATHS["openai"])
        return {
            "endpoint": "/v1/embeddings" if _embeds(model) else path,
            "model": model,
            "stream": stream,
            "size_bytes": prompt * 4,
            "message_count": None if _embeds(model) else pick.randint(1, 30),
            "user_agent": pick.choice(_AGENTS),
            "client_ip": f"192.0.2.{pick.randint(1, 254)}",
        }

    def _performance(self, completion: int, stream: bool) -> dict[str, Any]:
        first_byte = self._random.lognormvariate(5.8, 0.5)
        duration = first_byte + completion * self._random.uniform(8, 20)
        return {
            "duration_ms": round(duration, 3),
            "ttfb_ms": round(first_byte, 3) if stream else None,
            "upstream_duration_ms": round(duration * 0.98, 3),
        }

    def _auth(self) -> dict[str, Any]:
        """A few keys send most of it."""
        key = min(int(self._random.paretovariate(0.8)), _KEYS)
        return {
            "authenticated": True,
            "api_key_id": f"key_{key:016x}",
            "api_key_label": f"team-{key}",
            "auth_method": "bearer",
        }


def _embeds(model: str) -> bool:
    return "embedding" in model


def send(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many events.")] = 100,
    rate: Annotated[float, typer.Option(min=0.0, help="Events a second; 0: at once.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="For the same events again.")] = None,
    ingest_url: options.IngestUrl = options.DEFAULT_INGEST,
    token: options.Token = None,
    as_json: options.AsJson = False,
) -> None:
    """Send made-up requests of a realistic shape, to try things out."""
    # An empty post: URL and token are looked at before anything is made up.
    options.ingest(ingest_url, token).post("/analytics/events", [])
    client = AnalyticsClient(ingest_url, token=token, buffer_events=count)
    try:
        for number, event in enumerate(Traffic(seed), start=1):
            client.record(event)
            if number == count:
                break
            if rate:
                time.sleep(1 / rate)
    except KeyboardInterrupt:
        pass
    finally:
        complete = client.close(timeout=30.0)
    books = asdict(client.counts)
    if as_json:
        show.print_json(books)
    else:
        show.print_fields("Events", books.items())
    if not complete or books["rejected"]:
        raise Failure("not every event was taken; `routiium-analytics doctor` looks for the cause")
