"""Section 5 of the specification, rule by rule, with sums worked out by hand.

Prices of the table below, USD per million tokens: `gpt-4o` 2.50 in, 10.00 out, 1.25 cached;
`claude-sonnet-4-5` 3.00 in, 15.00 out, 0.30 cached, 3.75 written to the cache; `thinker` 1.00 in,
4.00 out, 6.00 for reasoning; `plain` 2.00 in, 8.00 out and nothing else.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared.events import Cost, Event, Request, Response, TokenUsage
from worker.normalise import normalise, steps_with
from worker.pricing import Price, PriceTable

GPT_4O = Price(2.5, 10.0, 1.25)
MODELS = {
    "gpt-4o": GPT_4O,
    "claude-sonnet-4-5": Price(3.0, 15.0, 0.3, 3.75),
    "thinker": Price(1.0, 4.0, reasoning_per_million=6.0),
    "plain": Price(2.0, 8.0),
}
TABLE = PriceTable(MODELS)


def priced(model: str | None, table: PriceTable = TABLE, **parts: Any) -> Cost | None:
    """The cost of a request for `model` after normalisation."""
    request = Request("/v1/chat/completions", model=model, input_tokens=parts.pop("input", None))
    event = Event(id="e", timestamp=1_700_000_000, request=request, **parts)
    return normalise([event], steps_with(table))[0].cost


def usage(prompt: int, completion: int, **parts: int) -> TokenUsage:
    return TokenUsage(prompt_tokens=prompt, completion_tokens=completion, **parts)


def parts_of(cost: Cost | None) -> tuple[float, float, float | None, float | None]:
    assert cost is not None
    return cost.input_cost, cost.output_cost, cost.cached_cost, cost.total_cost


def name_found(table: PriceTable, model: str) -> str | None:
    found = table.find(model)
    return found.name if found else None


def test_input_and_output_are_charged_each_at_its_price() -> None:
    # 1,000 × 2.50 and 200 × 10.00, by the million: 0.0025 + 0.0020.
    cost = priced("gpt-4o", token_usage=usage(1_000, 200))

    assert parts_of(cost) == pytest.approx((0.0025, 0.002, None, 0.0045))
    assert cost is not None
    assert (cost.currency, cost.pricing_model) == ("USD", "gpt-4o")


def test_cached_tokens_are_part_of_the_prompt_and_charged_once() -> None:
    # 400 × 2.50, 600 × 1.25, 200 × 10.00: 0.0010 + 0.00075 + 0.0020.
    cost = priced("gpt-4o", token_usage=usage(1_000, 200, cached_tokens=600))

    assert parts_of(cost) == pytest.approx((0.001, 0.002, 0.00075, 0.00375))


def test_cache_write_tokens_are_part_of_the_prompt_and_charged_once() -> None:
    # 100 × 3.00 + 300 × 3.75 = 0.001425 in; 600 × 0.30 = 0.00018 cached; 50 × 15.00 = 0.00075.
    used = usage(1_000, 50, cached_tokens=600, cache_write_tokens=300)
    cost = priced("claude-sonnet-4-5", token_usage=used)

    assert parts_of(cost) == pytest.approx((0.001425, 0.00075, 0.00018, 0.002355))


def test_reasoning_tokens_are_part_of_the_completion_and_charged_once() -> None:
    # 100 × 1.00; 200 × 4.00 + 300 × 6.00 = 0.0026.
    cost = priced("thinker", token_usage=usage(100, 500, reasoning_tokens=300))

    assert parts_of(cost) == pytest.approx((0.0001, 0.0026, None, 0.0027))


def test_without_prices_of_their_own_parts_cost_what_the_whole_does() -> None:
    # 1,000 × 2.00, 600 of them cached; 500 × 8.00, reasoning among them.
    used = usage(1_000, 500, cached_tokens=600, cache_write_tokens=100, reasoning_tokens=300)
    cost = priced("plain", token_usage=used)

    assert parts_of(cost) == pytest.approx((0.0008, 0.004, 0.0012, 0.006))


def test_a_price_of_zero_is_a_price() -> None:
    table = PriceTable({"local": Price(0.0, 0.0, 0.0, 0.0, 0.0)})

    assert parts_of(priced("local", table, token_usage=usage(10, 5))) == (0.0, 0.0, None, 0.0)
    # Cached tokens for nothing: 400 × 2.00 and no more.
    table = PriceTable({"m": Price(2.0, 8.0, cached_per_million=0.0)})
    cost = priced("m", table, token_usage=usage(1_000, 0, cached_tokens=600))
    assert parts_of(cost) == pytest.approx((0.0008, 0.0, 0.0, 0.0008))


def test_parts_larger_than_the_whole_never_cost_more_than_it() -> None:
    # 10 prompt tokens can't hold 50 cached ones: 10 × 1.25; 4 × 10.00.
    used = usage(10, 4, cached_tokens=50, cache_write_tokens=9, reasoning_tokens=40)

    assert parts_of(priced("gpt-4o", token_usage=used)) == pytest.approx(
        (0.0, 0.00004, 0.0000125, 0.0000525)
    )


def test_tokens_of_request_and_response_are_priced_where_there_is_no_usage() -> None:
    # 1,000 × 2.50, 200 × 10.00.
    response = Response(200, output_tokens=200)

    assert parts_of(priced("gpt-4o", input=1_000, response=response)) == pytest.approx(
        (0.0025, 0.002, None, 0.0045)
    )


def test_unknown_tokens_and_unknown_models_have_no_cost() -> None:
    assert priced("gpt-4o", response=Response(500)) is None
    assert priced("nobody's", token_usage=usage(1, 1)) is None
    assert priced(None, token_usage=usage(1, 1)) is None


def test_a_cost_that_was_sent_is_kept_as_it_is() -> None:
    sent = Cost(0.5, 0.25, None, 0.9, "EUR", "house")

    kept = priced("gpt-4o", token_usage=usage(1_000, 200), cost=sent)

    assert kept == Cost(0.5, 0.25, None, 0.9, "EUR", "house")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("azure/gpt-4o-20240806", "gpt-4o"),
        ("gpt-4o@20240806", "gpt-4o"),
        ("gpt-4o-latest", "gpt-4o"),
        ("gpt-4o-0806", "gpt-4o"),
        ("gpt-4o-05-20", "gpt-4o"),
        ("gpt-4o-preview", "gpt-4o"),
        ("gpt-4o-exp-0827", "gpt-4o"),
        ("gpt-4o-preview-05-20", "gpt-4o"),
        ("vertex_ai/gpt-4o-preview-09-2025", "gpt-4o"),
        ("claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("bedrock/us-east-1/anthropic.claude-sonnet-4-5-v1", "claude-sonnet-4-5"),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.plain-v1:0", "plain"),
        ("openai.gpt-4o", "gpt-4o"),
        ("gpt-4o-eu-west", "gpt-4o"),
        ("openai/gpt-4o:our-deployment", "gpt-4o"),
        ("gpt-4oo", None),
        ("gpt", None),
        ("my-gpt-4o", None),
        ("gpt-4o.1", None),
        ("my-own.gpt-4o", None),
        ("", None),
    ],
)
def test_a_model_is_found_by_its_name(model: str, name: str | None) -> None:
    assert name_found(TABLE, model) == name


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-mini",
        "openai/gpt-4o-mini",
        "gpt-4o-mini-2024-07-18",
        "gpt-4o-mini-eu",
        "gpt-4o-eu-mini",
        "gpt-4o-audio-preview-2024-12-17",
        "gpt-4o-realtime-preview",
        "gpt-4o-mini-preview-05-20",
        "gpt-4o-mini-preview-09-2025",
        "gpt-4o-audio-preview-09-2025",
        "openai.gpt-4o-mini",
        "us.openai.gpt-4o-mini-v1:0",
        "us.anthropic.claude-sonnet-4-5-2-v1:0",
        "plain-2-05-20",
        "plain-70b",
        "plain-32k",
        "plain-2",
        "plain-2.5-fast",
    ],
)
def test_another_model_is_never_priced_as_the_one_whose_name_begins_its_own(model: str) -> None:
    assert priced(model, token_usage=usage(1_000, 200)) is None


def test_gpt_4o_mini_has_its_own_price_in_every_spelling() -> None:
    table = PriceTable({**MODELS, "gpt-4o-mini": Price(0.15, 0.6)})

    for model in (
        "gpt-4o-mini",
        "openai/gpt-4o-mini",
        "openai.gpt-4o-mini",
        "gpt-4o-mini-2024-07-18",
        "gpt-4o-mini-preview-07-18",
        "gpt-4o-mini-eu",
    ):
        # 1,000 × 0.15, 200 × 0.60.
        cost = priced(model, table, token_usage=usage(1_000, 200))
        assert parts_of(cost) == pytest.approx((0.00015, 0.00012, None, 0.00027))


def test_the_nearest_name_wins() -> None:
    names = [
        "openai/gpt-4o-2024-08-06",
        "openai/gpt-4o",
        "gpt-4o-2024-08-06",
        "gpt-4o",
        "gpt-4o-eu",
    ]
    table = PriceTable({name: GPT_4O for name in names})
    without_provider = PriceTable({name: GPT_4O for name in names if "/" not in name})

    assert name_found(table, "openai/gpt-4o-2024-08-06") == "openai/gpt-4o-2024-08-06"
    assert name_found(without_provider, "openai/gpt-4o-2024-08-06") == "gpt-4o-2024-08-06"
    assert name_found(table, "openai/gpt-4o-2024-05-13") == "openai/gpt-4o"
    assert name_found(table, "gpt-4o-eu-west") == "gpt-4o-eu"
    assert name_found(table, "azure/gpt-4o-us") == "gpt-4o"


def test_a_regions_own_price_comes_before_that_of_the_model() -> None:
    names = ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5"]
    table = PriceTable({name: GPT_4O for name in (*names, "claude-sonnet-4-5")})

    assert name_found(table, f"bedrock/{names[0]}") == names[0]
    assert name_found(table, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0") == names[1]
    assert name_found(table, "claude-sonnet-4-5-20250929") == "claude-sonnet-4-5"


def test_the_default_prices_whatever_has_no_price_of_its_own() -> None:
    table = PriceTable(MODELS, default=Price(1.0, 2.0))

    for model in ("nobody's", "gpt-4o-mini", None):
        # 1,000 × 1.00, 200 × 2.00.
        cost = priced(model, table, token_usage=usage(1_000, 200))
        assert parts_of(cost) == pytest.approx((0.001, 0.0004, None, 0.0014))
        assert cost is not None
        assert cost.pricing_model == "default"
    assert name_found(table, "gpt-4o") == "gpt-4o"


def test_a_model_known_to_have_no_price_by_the_token_borrows_none() -> None:
    table = PriceTable({"gpt-image": None, "gpt": GPT_4O}, default=GPT_4O)

    assert table.find("gpt-image") is None


def test_any_number_of_names_is_looked_up_in_bounded_memory() -> None:
    for number in range(10_000):
        TABLE.find(f"name-{number}")

    assert len(TABLE._found) <= 4_096
    assert name_found(TABLE, "gpt-4o") == "gpt-4o"


def test_a_hostile_name_is_looked_up_in_no_time() -> None:
    dated = "-05-20" * 80
    began = time.process_time()
    for model in (
        "-" * 1_024,
        "/" * 1_024,
        "-0613" * 204,
        "gpt-4o" + ":0" * 500,
        "a." * 256 + dated,
        "a/" * 256 + dated,
    ):
        TABLE.find(model)

    assert time.process_time() - began < 0.2
