"""Usage as each provider counts it, in the event's `token_usage`.

`prompt_tokens` holds every input token, cached and cache-write ones included, and
`completion_tokens` every output token, reasoning included. Providers differ in what they include:

| provider | input | cached | cache write | output | reasoning |
|---|---|---|---|---|---|
| OpenAI chat | `prompt_tokens`, all | in the details | in the details | all | in the details |
| OpenAI responses | `input_tokens`, all | in the details | – | all | in the details |
| Anthropic | `input_tokens`, uncached only | beside it | beside it | all | – |
| Bedrock Converse | `inputTokens`, uncached only | beside it | beside it | all | – |
| Gemini | `promptTokenCount`, with cached | part of it | – | without thoughts | beside it |

The event's own form passes unchanged. Sources: the providers' API references; LiteLLM's `Usage`
adds Anthropic's names to OpenAI's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Usage = Mapping[str, Any]

_MAX_COUNT = 2**53


def token_usage(usage: Usage) -> dict[str, int] | None:
    """The `token_usage` of a usage object of any known shape; None where it is of none."""
    if "promptTokenCount" in usage or "totalTokenCount" in usage:
        return _gemini(usage)
    if "inputTokens" in usage or "outputTokens" in usage:
        return _bedrock(usage)
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return _openai(usage, "prompt_tokens", "completion_tokens")
    if "input_tokens" in usage or "output_tokens" in usage:
        if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
            return _anthropic(usage)
        return _openai(usage, "input_tokens", "output_tokens")
    return None


def _openai(usage: Usage, prompt: str, completion: str) -> dict[str, int]:
    inside = _part(usage, f"{prompt}_details")
    outside = _part(usage, f"{completion}_details")
    return _tokens(
        prompt=_count(usage, prompt) or 0,
        completion=_count(usage, completion) or 0,
        cached=_first(
            _count(inside, "cached_tokens"),
            _count(usage, "cache_read_input_tokens"),
            _count(usage, "prompt_cache_hit_tokens"),
            _count(usage, "cached_tokens"),
        ),
        cache_write=_first(
            _count(inside, "cache_write_tokens"),
            _count(inside, "cache_creation_tokens"),
            _count(usage, "cache_creation_input_tokens"),
            _count(usage, "cache_write_tokens"),
        ),
        reasoning=_first(
            _count(outside, "reasoning_tokens"),
            _count(usage, "reasoning_tokens"),
        ),
    )


def _anthropic(usage: Usage) -> dict[str, int]:
    cached = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    return _tokens(
        prompt=(_count(usage, "input_tokens") or 0) + (cached or 0) + (written or 0),
        completion=_count(usage, "output_tokens") or 0,
        cached=cached,
        cache_write=written,
    )


def _bedrock(usage: Usage) -> dict[str, int]:
    cached = _first(
        _count(usage, "cacheReadInputTokens"), _count(usage, "cacheReadInputTokenCount")
    )
    written = _first(
        _count(usage, "cacheWriteInputTokens"), _count(usage, "cacheWriteInputTokenCount")
    )
    return _tokens(
        prompt=(_count(usage, "inputTokens") or 0) + (cached or 0) + (written or 0),
        completion=_count(usage, "outputTokens") or 0,
        cached=cached,
        cache_write=written,
    )


def _gemini(usage: Usage) -> dict[str, int]:
    thoughts = _count(usage, "thoughtsTokenCount")
    prompt = _count(usage, "promptTokenCount") or 0
    return _tokens(
        prompt=prompt + (_count(usage, "toolUsePromptTokenCount") or 0),
        completion=(_count(usage, "candidatesTokenCount") or 0) + (thoughts or 0),
        cached=_count(usage, "cachedContentTokenCount"),
        reasoning=thoughts,
    )


def _tokens(
    *,
    prompt: int,
    completion: int,
    cached: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
) -> dict[str, int]:
    """Parts that a provider says nothing of are left out, not zero."""
    parts = {
        "cached_tokens": cached,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning,
    }
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **{name: count for name, count in parts.items() if count is not None},
    }


def _part(usage: Usage, name: str) -> Usage:
    """A group of details; some gateways leave it null, and some drop the `s` of its name."""
    part = usage.get(name, usage.get(name.replace("_tokens_", "_token_")))
    return part if isinstance(part, Mapping) else {}


def _count(usage: Usage, name: str) -> int | None:
    value = usage.get(name)
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT
    return value if usable else None


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)
