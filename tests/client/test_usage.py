"""Each provider's usage, as its API reference shows it, in the event's buckets."""

from __future__ import annotations

from typing import Any

import pytest

from routiium_client.usage import token_usage

OPENAI_CHAT = {
    "prompt_tokens": 2_006,
    "completion_tokens": 300,
    "total_tokens": 2_306,
    "prompt_tokens_details": {"cached_tokens": 1_920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 0},
}
OPENAI_RESPONSES = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 128},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 380,
}
ANTHROPIC = {
    "input_tokens": 50,
    "cache_creation_input_tokens": 248,
    "cache_read_input_tokens": 1_800,
    "output_tokens": 503,
}
BEDROCK = {
    "inputTokens": 50,
    "outputTokens": 503,
    "totalTokens": 2_601,
    "cacheReadInputTokens": 1_800,
    "cacheWriteInputTokens": 248,
}
GEMINI = {
    "promptTokenCount": 2_152,
    "cachedContentTokenCount": 2_027,
    "candidatesTokenCount": 710,
    "thoughtsTokenCount": 800,
    "totalTokenCount": 3_662,
}
# LiteLLM: OpenAI's shape, whose prompt holds the cached tokens, with Anthropic's names beside it.
LITELLM = {
    "prompt_tokens": 2_098,
    "completion_tokens": 503,
    "total_tokens": 2_601,
    "prompt_tokens_details": {"cached_tokens": 1_800, "cache_creation_tokens": 248},
    "completion_tokens_details": None,
    "cache_creation_input_tokens": 248,
    "cache_read_input_tokens": 1_800,
}


def tokens(prompt: int, completion: int, **parts: int) -> dict[str, int]:
    total = {"total_tokens": prompt + completion}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **total, **parts}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (OPENAI_CHAT, tokens(2_006, 300, cached_tokens=1_920, reasoning_tokens=192)),
        (OPENAI_RESPONSES, tokens(328, 52, cached_tokens=128, reasoning_tokens=20)),
        (ANTHROPIC, tokens(2_098, 503, cached_tokens=1_800, cache_write_tokens=248)),
        (BEDROCK, tokens(2_098, 503, cached_tokens=1_800, cache_write_tokens=248)),
        (GEMINI, tokens(2_152, 1_510, cached_tokens=2_027, reasoning_tokens=800)),
        (LITELLM, tokens(2_098, 503, cached_tokens=1_800, cache_write_tokens=248)),
        ({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}, tokens(9, 12)),
        (
            tokens(9, 12, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=3),
            tokens(9, 12, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=3),
        ),
        ({"prompt_tokens": 8, "total_tokens": 8}, tokens(8, 0)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, tokens(9, 0, cached_tokens=4)),
        ({"input_tokens": "5", "output_tokens": -2}, tokens(0, 0)),
        ({"queries": 3}, None),
        ({}, None),
    ],
)
def test_usage_becomes_the_events_buckets(
    usage: dict[str, Any], expected: dict[str, int] | None
) -> None:
    assert token_usage(usage) == expected
