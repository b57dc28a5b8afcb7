"""Calls through the real LiteLLM, posted by its own GenericAPILogger. Runs in LiteLLM's venv.

`litellm_calls.py <endpoint> <log format> <canary> <successes> <failures> <streams>` prints, as a
JSON array, what LiteLLM itself reports of each call.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger
from litellm.types.utils import ModelResponse


class Report(CustomLogger):  # type: ignore[misc]
    """Keeps LiteLLM's own figures of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._keep(kwargs["standard_logging_object"])

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._keep(kwargs["standard_logging_object"])

    def _keep(self, payload: Any) -> None:
        details = (payload["metadata"]["usage_object"] or {}).get("prompt_tokens_details") or {}
        names = ("id", "status", "model", "stream", "prompt_tokens", "completion_tokens")
        kept = {name: payload[name] for name in (*names, "response_cost", "startTime", "endTime")}
        self.calls.append({**kept, "cached_tokens": details.get("cached_tokens") or 0})


def arguments(canary: str, number: int) -> dict[str, Any]:
    return {
        "model": ("gpt-4o", "gpt-4o-mini", "anthropic/claude-sonnet-4-5")[number % 3],
        "messages": [{"role": "user", "content": f"{canary} {'word ' * number}"}],
        "metadata": {
            canary: canary,
            "tags": [canary],
            "user_api_key_hash": f"key-{number % 5}",
            "user_api_key_alias": f"team-{number % 5}",
        },
        "user": canary,
        "api_key": f"sk-{canary}",
    }


def cached_answer(canary: str, number: int) -> ModelResponse:
    """An answer whose usage tells of cached and reasoning tokens."""
    prompt, completion = 1_000 + number, 50
    return ModelResponse(
        id=f"chatcmpl-cached-{number}",
        model="gpt-4o",
        choices=[{"message": {"role": "assistant", "content": canary}, "finish_reason": "stop"}],
        usage={
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 600},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    )


async def succeed(canary: str, number: int) -> None:
    answer = cached_answer(canary, number) if number % 4 == 0 else f"{canary} {'so ' * number}"
    await litellm.acompletion(**arguments(canary, number), mock_response=answer)


async def fail(canary: str, number: int) -> None:
    mocks = (
        Exception(f"refused: {canary}"),
        "litellm.RateLimitError",
        "litellm.InternalServerError",
    )
    try:
        await litellm.acompletion(**arguments(canary, number), mock_response=mocks[number % 3])
    except Exception:
        return
    raise AssertionError("the call should have failed")


async def stream(canary: str, number: int) -> None:
    answer = f"{canary} a streamed answer {number}"
    chunks = await litellm.acompletion(
        **arguments(canary, number), mock_response=answer, stream=True
    )
    async for _ in chunks:
        pass


async def main(endpoint: str, log_format: Any, canary: str, *counts: str) -> None:
    report = Report()
    # Flushed here alone, and not by the clock.
    logger = GenericAPILogger(
        endpoint=endpoint, log_format=log_format, flush_interval=3_600, batch_size=100
    )
    litellm.callbacks = [report, logger]
    total = 0
    for call, count in zip((succeed, fail, stream), map(int, counts), strict=True):
        for number in range(count):
            await call(canary, number)
        total += count
        while len(report.calls) < total:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    await logger.flush_queue()
    print(json.dumps(report.calls))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
