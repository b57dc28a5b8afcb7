"""How the Redis store lies in Redis: the names of its keys and the bytes in them.

Every key begins with `ROOT`; all but `GENERATION` and `CLEARING` then carry the generation, a
number that a clear counts up, so that a clear takes effect at once and for all keys together:

    timeline           sorted set: id by timestamp; the order of events, and which ids are known
    hours              sorted set: the hours that have events, by themselves
    lasting            the seconds to live under which the keys were written; absent where none
    events:<hour>      hash: id → the event, packed
    index:<hour>       hash: dimension and value → the seconds of the hour that have such an event
    cells:<cube>:<grain>:<start>   hash: values of the cube's dimensions → what they add up to

Hours, starts and grains are Unix seconds. `{…}` puts all keys into one slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import astuple

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
from shared.stores.base import DIMENSIONS, Dimension, DimensionValue
from shared.stores.rollup import DAY, HOUR, MINUTE, NUMBERS, Cube, Row, Summary, Values

ROOT = "{routiium:analytics:store}:"
GENERATION = ROOT + "generation"
CLEARING = ROOT + "clearing"
"""The generation up to which a clear still removes keys; absent when none is under way."""

CUBES: tuple[Cube, ...] = (
    Cube("traffic", ("model", "endpoint", "backend"), (DAY, HOUR, MINUTE)),
    Cube("keys", ("api_key_id",), (DAY, HOUR)),
    Cube(
        "outcome",
        ("model", "endpoint", "backend", "status_code", "success", "upstream_mode", "stream"),
        (DAY, HOUR),
    ),
    Cube("everything", ("api_key_id", *(d for d in DIMENSIONS if d != "api_key_id")), (DAY,)),
)
"""Fewer grains than other stores keep: memory is dear, and the index makes edges cheap."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the keys of one generation."""

    generation: int

    @property
    def prefix(self) -> str:
        return f"{ROOT}{self.generation}:"

    @property
    def timeline(self) -> str:
        return self.prefix + "timeline"

    @property
    def hours(self) -> str:
        return self.prefix + "hours"

    @property
    def lasting(self) -> str:
        return self.prefix + "lasting"

    def events(self, hour: int) -> str:
        return f"{self.prefix}events:{hour}"

    def index(self, hour: int) -> str:
        return f"{self.prefix}index:{hour}"

    def cells(self, cube: Cube, grain: int, start: int) -> str:
        return f"{self.prefix}cells:{cube.name}:{grain}:{start}"

    def of_hour(self, hour: int) -> Iterable[tuple[str, int]]:
        """Every key that holds something of this hour, with the end of what the key covers."""
        yield self.events(hour), hour + HOUR
        yield self.index(hour), hour + HOUR
        for cube in CUBES:
            for grain in cube.grains:
                for start in range(hour - hour % grain, hour + HOUR, grain):
                    yield self.cells(cube, grain, start), start + grain


def generation_of(key: bytes) -> int | None:
    """The generation that a key belongs to; None of those that belong to none."""
    number = key.decode(errors="replace").removeprefix(ROOT).partition(":")[0]
    return int(number) if number.isdecimal() else None


FORMAT = 1
"""First in a packed event. Raise it when a field of an event moves or goes; one may be added last
in its group."""


def pack_event(event: Event) -> bytes:
    """All but the id, as msgpack, each group as an array in the order of its fields."""
    response, usage, cost = event.response, event.token_usage, event.cost
    return _encode(
        (
            FORMAT,
            event.timestamp,
            astuple(event.request),
            None if response is None else astuple(response),
            astuple(event.performance),
            astuple(event.auth),
            astuple(event.routing),
            None if usage is None else astuple(usage),
            None if cost is None else astuple(cost),
        )
    )


def unpack_event(event_id: bytes, packed: bytes) -> Event:
    """The event that `pack_event` packed."""
    _, timestamp, request, response, performance, auth, routing, usage, cost = _decode(packed)
    return Event(
        event_id.decode(),
        timestamp,
        Request(*request),
        None if response is None else Response(*response),
        Performance(*performance),
        Auth(*auth),
        Routing(*routing),
        None if usage is None else TokenUsage(*usage),
        None if cost is None else Cost(*cost),
    )


_PLACES = {name: place for place, name in enumerate(DIMENSIONS)}
SECONDS = [bytes((second // 60, 64 + second % 60)) for second in range(HOUR)]
"""The second of an hour as it stands in the index."""


def index_field(dimension: Dimension, value: DimensionValue) -> bytes:
    """The field of the index for a value of a dimension."""
    return bytes((_PLACES[dimension],)) + _encode(value)


def seconds_of(hour: int, packed: bytes) -> set[int]:
    """The timestamps that a field of the index of `hour` holds."""
    pairs = zip(packed[::2], packed[1::2], strict=True)
    return {hour + minute * 60 + second - 64 for minute, second in pairs}


def cell_field(values: Values) -> bytes:
    """The field of a cell: its values as a msgpack array."""
    return _encode(values)


def fields_that_begin(cube: Cube, value: DimensionValue) -> bytes:
    """The glob pattern of the fields of `cube` whose first dimension has this value."""
    first = bytes((0x90 | len(cube.dimensions),)) + _encode(value)
    return b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in first) + b"*"


_TOKENS = slice(NUMBERS.index("input_tokens"), NUMBERS.index("reasoning_tokens") + 1)
_HALF = 1 << 32


def pack_summary(summary: Summary) -> bytes:
    """The length of the numbers, the numbers as a msgpack array, the histogram.

    Lua adds doubles, so a token count that is large is split: its upper half comes after the
    others, and both halves stay exact over two million additions.
    """
    numbers = [number or 0 for number in summary.numbers()]
    tokens = numbers[_TOKENS]
    if max(map(abs, tokens)) >= _HALF:
        halves = [divmod(abs(int(count)), _HALF) for count in tokens]
        signs = [-1 if count < 0 else 1 for count in tokens]
        numbers[_TOKENS] = [sign * low for sign, (_, low) in zip(signs, halves, strict=True)]
        numbers += [sign * high for sign, (high, _) in zip(signs, halves, strict=True)]
    packed = _encode(numbers)
    return bytes((len(packed),)) + packed + summary.packed_histogram()


def unpack_row(start: int, values: Values, packed: bytes) -> Row:
    """A cell as a row of its cube."""
    end = packed[0] + 1
    numbers: list[Any] = _decode(packed[1:end])
    if len(numbers) > len(NUMBERS):
        highs = numbers[len(NUMBERS) :]
        lows = numbers[_TOKENS]
        numbers[_TOKENS] = [low + high * _HALF for low, high in zip(lows, highs, strict=True)]
    return Row(start, values, numbers[: len(NUMBERS)], packed[end:])


class CellFields:
    """Reads the fields of cells. The same few come again and again, so they are remembered."""

    def __init__(self, *, most: int = 100_000) -> None:
        self._known: dict[bytes, Values] = {}
        self._most = most

    def values(self, field: bytes) -> Values:
        found = self._known.get(field)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = self._known[field] = tuple(_decode(field))
        return found
