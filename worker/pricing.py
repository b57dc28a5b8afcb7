"""What a request cost: the price of a model by its name, and tokens times that price.

Pure. Prices are USD per million tokens; costs are USD. `worker.price_file` reads the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct
from shared.events import Cost, Event, TokenUsage

Rate = Annotated[float, Meta(ge=0, le=1e9)]

_MILLION = 1_000_000
_REMEMBERED = 4_096
_MOST_SPELLINGS = 8
_SEPARATORS = "-/:@_"

_DATE_OR_VERSION = re.compile(
    r"""(?:
        [-@_] 20\d\d (-?) (?:0[1-9]|1[0-2]) \1 (?:0[1-9]|[12]\d|3[01])   # -2024-08-06, @20240806
      | [-@_] (?:0[1-9]|1[0-2]) - (?:0[1-9]|[12]\d|3[01]|20\d\d)          # -05-20, -09-2025
      | [-@_] (?:latest|preview|exp)
      | [-@_] \d{3,4}           # -0613, -002
      | [-@_] v\d+ (?:\.\d+)*   # -v2
      | : \d+ (?:\.\d+)*        # :0, after Bedrock's -v1
    )$""",
    re.VERBOSE,
)
# `openai/`, and Bedrock's `anthropic.`, `us.` and `us-gov.`; the dot of `gpt-4.1` is another thing.
_PROVIDER = re.compile(r"[a-z][a-z\d]*(?:-gov)?\.(?=[a-z])|[^/]*/")

# What follows a model's name and makes another model of it, at another price: a further version
# (`gpt-5-2`), a size (`-70b`, `-32k`), or one of the words that providers use for a member of a
# family.
_ANOTHER_MODEL = re.compile(
    r"""\d{1,2} | \d+\.\d+ | v\d.* | (?:\d+(?:\.\d+)?|\d+x\d+(?:\.\d+)?)[kmbt]
    | mini | nano | micro | tiny | small | medium | large | xl | xxl | lite | light | mega | ultra
    | pro | plus | max | premier | turbo | flash | fast | express | instant | high | low
    | haiku | sonnet | opus | sol | luna | terra | astra | cyber
    | audio | realtime | live | tts | transcribe | speech | voice | image | vision | vl | video
    | search | research | deep | embed | embedding | rerank | moderation | guard | ocr
    | code | coder | codex | math | reasoning | reasoner | thinking | think | distill | distilled
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens. Null: cached and cache-write tokens cost what input does, reasoning
    what output does.
    """

    input_per_million: Rate
    output_per_million: Rate
    cached_per_million: Rate | None = None
    cache_write_per_million: Rate | None = None
    reasoning_per_million: Rate | None = None


class Found(NamedTuple):
    """A price, and the configured name that it stands under."""

    name: str
    price: Price


class PriceTable:
    """Prices by model name, found as the specification says; answers are remembered.

    A name whose price is None is known and has no price by the token: it is never priced by
    another name.
    """

    def __init__(self, models: Mapping[str, Price | None], default: Price | None = None) -> None:
        self._models = models
        self._default = Found("default", default) if default is not None else None
        self._found: dict[str | None, Found | None] = {}

    def __len__(self) -> int:
        return len(self._models)

    def find(self, model: str | None) -> Found | None:
        """The price for a model as a request names it; None where there is none."""
        try:
            return self._found[model]
        except KeyError:
            pass
        if len(self._found) >= _REMEMBERED:
            # Names come from outside, in any number.
            self._found.clear()
        found = self._found[model] = self._default if model is None else self._look_up(model)
        return found

    def _look_up(self, model: str) -> Found | None:
        # Bounded, as a name of nothing but prefixes and suffixes would take a third of a second.
        whole = list(islice(_without_providers(model), _MOST_SPELLINGS))
        shorter = [
            short for name in whole for short in islice(_without_suffixes(name), _MOST_SPELLINGS)
        ]
        for name in (*whole, *shorter):
            if name in self._models:
                price = self._models[name]
                return None if price is None else Found(name, price)
        prefixes = [prefix for name in whole if (prefix := self._longest_prefix(name))]
        return max(prefixes, key=lambda found: len(found.name), default=self._default)

    def _longest_prefix(self, name: str) -> Found | None:
        """The longest configured name whose segments begin `name`, unless the next says otherwise.

        `gpt-4o` begins `gpt-4o-eu`, and `gpt-4o-mini`; the latter is another model.
        """
        ends = [at for at, character in enumerate(name) if character in _SEPARATORS]
        for end in reversed(ends):
            price = self._models.get(name[:end])
            if price is not None:
                rest = re.split(f"[{_SEPARATORS}]", name[end + 1 :])
                another = any(map(_ANOTHER_MODEL.fullmatch, rest))
                return None if another else Found(name[:end], price)
        return None


def _without_providers(model: str) -> Iterator[str]:
    """`azure/openai/gpt-4o`, `openai/gpt-4o`, `gpt-4o`; `us.anthropic.claude`, and so on."""
    yield model
    while provider := _PROVIDER.match(model):
        model = model[provider.end() :]
        yield model


def _without_suffixes(name: str) -> Iterator[str]:
    """Each name that is left as dates and versions are taken off the end, the longest first."""
    while match := _DATE_OR_VERSION.search(name):
        name = name[: match.start()]
        yield name


def cost_of(usage: TokenUsage, found: Found) -> Cost:
    """What the tokens of `usage` cost, each charged once.

    `cached_cost` is the cached tokens' share, `input_cost` that of all other prompt tokens.
    """
    name, price = found
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    written = min(usage.cache_write_tokens or 0, usage.prompt_tokens - cached)
    reasoning = min(usage.reasoning_tokens or 0, usage.completion_tokens)
    plain = usage.prompt_tokens - cached - written
    answer = usage.completion_tokens - reasoning
    input_rate, output_rate = price.input_per_million, price.output_per_million
    input_cost = plain * input_rate + written * _or(price.cache_write_per_million, input_rate)
    output_cost = answer * output_rate + reasoning * _or(price.reasoning_per_million, output_rate)
    cached_cost = cached * _or(price.cached_per_million, input_rate)
    return Cost(
        input_cost=input_cost / _MILLION,
        output_cost=output_cost / _MILLION,
        cached_cost=None if usage.cached_tokens is None else cached_cost / _MILLION,
        total_cost=(input_cost + output_cost + cached_cost) / _MILLION,
        pricing_model=name,
    )


def _or(rate: float | None, otherwise: float) -> float:
    return otherwise if rate is None else rate


def price_event(event: Event, table: PriceTable) -> None:
    """Give an event its cost, unless the sender gave one, or its tokens or price are not known."""
    if event.cost is not None:
        return
    found = table.find(event.request.model)
    if found is None:
        return
    usage = event.token_usage or _usage_of_sides(event)
    if usage is not None:
        event.cost = cost_of(usage, found)


def _usage_of_sides(event: Event) -> TokenUsage | None:
    """Tokens that a sender gave with the request and the response instead of `token_usage`."""
    prompt, completion = event.input_tokens, event.output_tokens
    if prompt is None and completion is None:
        return None
    return TokenUsage(prompt_tokens=prompt or 0, completion_tokens=completion or 0)
