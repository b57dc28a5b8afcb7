"""Price tables from files: our own form, LiteLLM's, and the table that comes with the package.

Our form is `{"models": {name: Price}, "default": Price | null}`. LiteLLM's
model_prices_and_context_window.json is `{name: {"input_cost_per_token": …}}`, USD per token; of it
the base prices are read, not those of tiers, batches or other modalities.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from shared.errors import SettingsError
from shared.settings import variable_of

from worker.pricing import Price, PriceTable, Rate

BUILT_IN = Path(__file__).with_name("prices.json")

T = TypeVar("T")

_MAX_ALIASES = 8
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class WrongPrices(Exception):
    """The content of a price file is wrong; the message says where."""


class _LiteLLMPrice(msgspec.Struct):
    input_cost_per_token: Rate | None = None
    output_cost_per_token: Rate | None = None
    cache_read_input_token_cost: Rate | None = None
    cache_creation_input_token_cost: Rate | None = None
    output_cost_per_reasoning_token: Rate | None = None
    litellm_provider: str | None = None
    alias_of: str | None = None


_litellm_price = msgspec.json.Decoder(_LiteLLMPrice, strict=False)


def load_prices(path: Path | None) -> PriceTable:
    """The table in the file at `path`, or the built-in one where that is None.

    Raises SettingsError, naming the variable, the file and the place in it.
    """
    try:
        return parse_prices((path or BUILT_IN).read_bytes())
    except OSError as error:
        problem = error.strerror or str(error)
    except WrongPrices as error:
        problem = str(error)
    raise SettingsError([f"{variable_of('pricing_config')}: {path}: {problem}"])


def parse_prices(content: bytes) -> PriceTable:
    """The table that a file of either form holds. Raises WrongPrices."""
    try:
        members = _members.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongPrices(_sentence(error)) from None
    return _parse_own(members) if "models" in members else _parse_litellm(members)


def _parse_own(members: dict[str, msgspec.Raw]) -> PriceTable:
    models = _decode(members["models"], dict[str, msgspec.Raw], "models")
    prices = {name: _decode(raw, Price, f"models.{name}") for name, raw in models.items()}
    default = members.get("default", msgspec.Raw(b"null"))
    if bytes(default) == b"null":
        return PriceTable(prices)
    return PriceTable(prices, _decode(default, Price, "default"))


def _decode(raw: msgspec.Raw, kind: type[T], place: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongPrices(f"{place}: {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    message, _, field = str(error).replace("`", "").partition(" - at $.")
    return f"{field}: {message}" if field else message


def _parse_litellm(members: dict[str, msgspec.Raw]) -> PriceTable:
    prices: dict[str, _LiteLLMPrice] = {}
    for name, raw in members.items():
        if name != "sample_spec":
            try:
                prices[name] = _litellm_price.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise WrongPrices(f"{name}: {_sentence(error)}") from None
    if all(price == _LiteLLMPrice() for price in prices.values()):
        raise WrongPrices(
            'is neither {"models": {name: {"input_per_million": …, "output_per_million": …}}} '
            "nor LiteLLM's model_prices_and_context_window.json"
        )
    return PriceTable({name: _price(_resolve(price, prices)) for name, price in prices.items()})


def _resolve(price: _LiteLLMPrice, prices: dict[str, _LiteLLMPrice]) -> _LiteLLMPrice:
    for _ in range(_MAX_ALIASES):
        if price.alias_of is None or price.alias_of not in prices:
            break
        price = prices[price.alias_of]
    return price


def _price(listed: _LiteLLMPrice) -> Price | None:
    """None where nothing is charged by the token: images, seconds, characters."""
    rates = (listed.input_cost_per_token, listed.output_cost_per_token)
    if rates == (None, None):
        return None
    return Price(
        input_per_million=_per_million(rates[0]) or 0.0,
        output_per_million=_per_million(rates[1]) or 0.0,
        cached_per_million=_per_million(listed.cache_read_input_token_cost),
        cache_write_per_million=_per_million(listed.cache_creation_input_token_cost),
        reasoning_per_million=_per_million(listed.output_cost_per_reasoning_token),
    )


def _per_million(per_token: float | None) -> float | None:
    # 1.5e-07 × 10⁶ is not 0.15 to the last bit, and nobody's price has that many digits.
    return None if per_token is None else round(per_token * 1_000_000, 9)
