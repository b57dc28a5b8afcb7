"""How the Redis store lies in Redis: the names of its keys and the bytes in them.

Every key begins with `ROOT`; all but `GENERATION` and `CLEARING` then carry the generation, a
number that a clear counts up, so that a clear takes effect at once and for all keys together:

    timeline           sorted set: id by timestamp; the order of events, and which ids are known
    hours              sorted set: the hours that have events, by themselves
    lasting            the seconds to live under which the keys were written; absent where none
    events:<hour>      hash: id → the event, packed
    index:<hour>       hash: dimension and value → the seconds of the hour that have such an event
    cells:<cube>:<grain>:<block>:<part>   hash: a random id → a segment of packed cells

Hours, grains and blocks are in Unix seconds. `{…}` puts all keys into one slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from shared.stores.rollup import BLOCKS, CUBES, HOUR, PARTED, PARTS, Place

ROOT = "{routiium:analytics:store}:"
GENERATION = ROOT + "generation"
CLEARING = ROOT + "clearing"
"""The generation up to which a clear still removes keys; absent when none is under way."""

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

    def cells(self, place: Place) -> str:
        return f"{self.prefix}cells:{place.cube}:{place.grain}:{place.block}:{place.part}"

    def of_hour(self, hour: int) -> Iterator[tuple[str, int]]:
        """Every key that holds something of this hour, with the end of what the key covers."""
        yield self.events(hour), hour + HOUR
        yield self.index(hour), hour + HOUR
        for block in blocks_of(hour):
            for place in block.places():
                yield self.cells(place), block.stop


class Block(NamedTuple):
    """The time whose cells of one cube and grain lie together."""

    cube: str
    grain: int
    start: int

    @property
    def stop(self) -> int:
        return self.start + BLOCKS[self.grain]

    def places(self) -> list[Place]:
        parts = PARTS if self.cube == PARTED else 1
        return [Place(self.cube, self.grain, self.start, part) for part in range(parts)]


def blocks_of(second: int) -> list[Block]:
    """The block of every cube and grain that a second lies in."""
    return [
        Block(cube.name, grain, second - second % BLOCKS[grain])
        for cube in CUBES
        for grain in cube.grains
    ]


def generation_of(key: bytes) -> int | None:
    """The generation that a key belongs to; None of those that belong to none."""
    number = key.decode(errors="replace").removeprefix(ROOT).partition(":")[0]
    return int(number) if number.isdecimal() else None


FORMAT = 1
"""First in a packed event. Raise it when a field of an event moves or goes; one whose default is
None may be added last in its group."""


def pack_event(event: Event) -> bytes:
    """All but id and timestamp, as msgpack; each group an array in the order of its fields."""
    return _encode(
        (
            FORMAT,
            astuple(event.request),
            _group(event.response),
            astuple(event.performance),
            astuple(event.auth),
            astuple(event.routing),
            _group(event.token_usage),
            _group(event.cost),
        )
    )


def _group(group: msgspec.Struct | None) -> tuple[Any, ...] | None:
    """A group's fields, but for those at its end that are None."""
    if group is None:
        return None
    fields = astuple(group)
    while fields and fields[-1] is None:
        fields = fields[:-1]
    return fields


def unpack_event(event_id: bytes, timestamp: int, packed: bytes) -> Event:
    """The event that `pack_event` packed."""
    _, request, response, performance, auth, routing, usage, cost = _decode(packed)
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
