"""The cursor of a page of events."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from shared.events import Event
from shared.stores.base import Dimension, Order, Position, Selection

from query_api.parameters import MAX_STATUS, MAX_TIME, Parameter

# A cursor comes back from a client: what is in it is held to the bounds of the parameters.
_Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*\Z")]
_Value = _Text | Annotated[int, msgspec.Meta(ge=0, le=MAX_STATUS)] | bool | None


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """Where a page ended, and what it was a page of."""

    start: _Time
    end: _Time
    order: Order
    filters: dict[Dimension, frozenset[_Value]]
    timestamp: _Time
    id: _Text

    @classmethod
    def after(cls, event: Event, selection: Selection, order: Order) -> Cursor:
        """The cursor of the page of `selection` that follows `event`."""
        filters = dict(selection.filters)
        return cls(selection.start, selection.end, order, filters, event.timestamp, event.id)

    @property
    def selection(self) -> Selection:
        """What the cursor's page was a page of."""
        return Selection(start=self.start, end=self.end, filters=self.filters)

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises ValueError where `text` is no cursor."""
        padded = text + "=" * (-len(text) % 4)
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(padded.encode()), type=cls)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as error:
            raise ValueError("is not a cursor that this service gave") from error

    @property
    def position(self) -> Position:
        return Position(self.timestamp, self.id)


CURSOR: Parameter[Cursor | None] = Parameter(
    name="cursor",
    parse=Cursor.decode,
    default=None,
    schema={"type": "string", "format": "cursor"},
    about="`next_cursor` of the page before; what else is left out is as it was on that page.",
)
