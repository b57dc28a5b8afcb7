"""Price files: both forms, what is said of a wrong one, and the table that comes along."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from tests.harness import Service
from worker.price_file import BUILT_IN, load_prices
from worker.pricing import Price, PriceTable

LITELLM = {
    "sample_spec": {"input_cost_per_token": 0.0, "max_input_tokens": "an explanation"},
    "gpt-4o-mini": {
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
        "litellm_provider": "openai",
        "max_tokens": 16384,
        "supports_vision": True,
    },
    "claude": {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_read_input_token_cost": 3e-07,
    },
    "thinker": {"output_cost_per_token": 4e-06, "output_cost_per_reasoning_token": 6e-06},
    "text-embedding": {"input_cost_per_token": 2e-08},
    "dall-e": {"output_cost_per_image": 0.04, "litellm_provider": "openai"},
    "newest": {"alias_of": "claude"},
}


def load(folder: Path, content: Any) -> PriceTable:
    file = folder / "prices.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return load_prices(file)


def price(table: PriceTable, model: str) -> Price:
    found = table.find(model)
    assert found is not None
    return found.price


def test_our_own_form_is_read_whole(tmp_path: Path) -> None:
    rates = {
        "input_per_million": 3,
        "output_per_million": 15,
        "cached_per_million": 0.3,
        "cache_write_per_million": 3.75,
        "reasoning_per_million": None,
    }
    table = load(
        tmp_path,
        {
            "models": {"a": rates, "b": {"input_per_million": 1, "output_per_million": 2}},
            "default": {"input_per_million": 5, "output_per_million": 6},
        },
    )

    assert price(table, "a") == Price(3.0, 15.0, 0.3, 3.75, None)
    assert price(table, "b") == Price(1.0, 2.0)
    assert price(table, "c") == Price(5.0, 6.0)


@pytest.mark.parametrize("end", [{}, {"default": None}])
def test_a_table_without_default_prices_nothing_else(tmp_path: Path, end: Any) -> None:
    table = load(tmp_path, {"models": {}, **end})

    assert table.find("gpt-4o") is None


def test_litellms_form_is_told_by_its_shape(tmp_path: Path) -> None:
    table = load(tmp_path, LITELLM)

    assert len(table) == len(LITELLM) - 1
    assert price(table, "openai/gpt-4o-mini") == Price(0.15, 0.6, 0.075)
    assert price(table, "claude") == Price(3.0, 15.0, 0.3, 3.75)
    assert price(table, "thinker") == Price(0.0, 4.0, reasoning_per_million=6.0)
    assert price(table, "text-embedding") == Price(0.02, 0.0)
    assert price(table, "newest") == price(table, "claude")
    assert table.find("dall-e") is None
    assert table.find("sample_spec") is None


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"{", "Input data was truncated"),
        (b'{"models": ', "Input data was truncated"),
        (b"[]", "Expected object, got array"),
        (b"\xff\xfe", "JSON is malformed"),
        ({"models": []}, "models: Expected object, got array"),
        ({"models": {"m": {"input_per_million": 1}}}, "models.m: Object missing required field"),
        (
            {"models": {"m": {"input_per_million": -1, "output_per_million": 1}}},
            "models.m: input_per_million: Expected float >= 0",
        ),
        (
            {"models": {"m": {"input_per_million": "1", "output_per_million": 1}}},
            "models.m: input_per_million: Expected float, got str",
        ),
        (
            {"models": {"m": {"input_per_million": 1, "output_per_million": 1, "cahced": 1}}},
            "models.m: Object contains unknown field cahced",
        ),
        ({"models": {}, "default": {"input_per_million": 1}}, "default: Object missing"),
        ({"m": {"input_cost_per_token": {}}}, "m: input_cost_per_token: Expected"),
        ({"m": {"input_cost_per_token": -1}}, "m: input_cost_per_token: Expected float >= 0"),
        ({"m": 5}, "m: Expected object, got int"),
        ({"m": {"input_per_million": 1, "output_per_million": 2}}, "is neither"),
        ({}, "is neither"),
    ],
)
def test_a_wrong_file_names_the_variable_the_file_and_the_place(
    tmp_path: Path, content: Any, place: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, content)

    [problem] = raised.value.problems
    assert problem.startswith(f"ROUTIIUM_PRICING_CONFIG: {tmp_path}/prices.json: ")
    assert place in problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ROUTIIUM_PRICING_CONFIG: .*gone\.json: No such file"):
        load_prices(tmp_path / "gone.json")


def test_the_variable_has_no_analytics_in_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROUTIIUM_PRICING_CONFIG", "prices.json")

    assert load_settings(env_file=None).pricing_config == Path("prices.json")
    assert load_settings(env_file=None, pricing_config=tmp_path).pricing_config == tmp_path


@pytest.mark.parametrize("command", ["worker.main", "deploy.run"])
def test_a_wrong_file_ends_the_process_before_it_begins(tmp_path: Path, command: str) -> None:
    (tmp_path / "prices.json").write_text('{"models": {"m": {"input_per_million": 1}}}')
    service = Service(
        "service",
        [sys.executable, "-m", command],
        {"ROUTIIUM_PRICING_CONFIG": "prices.json"},
        tmp_path,
    )

    assert service.process.wait(20) != 0
    assert service.output().startswith("ROUTIIUM_PRICING_CONFIG: prices.json: models.m: ")


def test_the_built_in_table_is_dated_small_and_tells_models_apart() -> None:
    content = json.loads(BUILT_IN.read_bytes())
    table = load_prices(None)

    assert content["as_of"] >= "2026-11-01"
    assert 50 < len(table) < 300
    assert price(table, "openai/gpt-4o-mini-2024-07-18") == Price(0.15, 0.6, 0.075)
    assert price(table, "gpt-4o-2024-08-06") == Price(2.5, 10.0, 1.25)
    assert price(table, "gpt-4o-2024-05-13") == Price(5.0, 15.0)
    assert price(table, "claude-sonnet-4-5-20250929") == Price(3.0, 15.0, 0.3, 3.75)
    assert table.find("gpt-4o-audio-preview") is None
