"""`GET /analytics/events`."""

from __future__ import annotations

from typing import cast, get_args

import msgspec
from shared.events import Event
from shared.stores.base import Order, Store

from query_api.answers import Clock, answers
from query_api.cursor import CURSOR, Cursor
from query_api.parameters import SELECTION, Parameter, integer, one_of
from query_api.params import HOUR, Params

LIMIT = integer("limit", 1_000, least=0, most=10_000, about="Most events on a page.")
ORDER: Parameter[str | None] = Parameter(
    name="order",
    parse=one_of(get_args(Order)),
    default=None,
    schema={"enum": list(get_args(Order)), "default": "desc"},
    about="`desc`: the newest first.",
)


class EventsPage(msgspec.Struct):
    """Events of a range, and the cursor of the page that follows; None where none does."""

    events: list[Event]
    count: int
    start: int
    end: int
    next_cursor: str | None


class EventsResource:
    """Events of a range, a page at a time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @answers(*SELECTION, LIMIT, ORDER, CURSOR)
    def on_get(self, params: Params) -> EventsPage:
        """Events of a range, a page at a time.

        Following `next_cursor` to its end gives each event once, though new ones arrive meanwhile.
        """
        cursor = params[CURSOR]
        before = cursor.selection if cursor else None
        selection = params.selection(self._clock(), default_span=HOUR, before=before)
        limit = params[LIMIT]
        order = cast(Order, params[ORDER] or (cursor.order if cursor else "desc"))
        after = cursor.position if cursor else None
        # One more than asked for tells whether another page follows.
        found = (
            self._store.query(selection, limit=limit + 1, order=order, after=after) if limit else []
        )
        events = found[:limit]
        following = None
        if len(found) > limit:
            following = Cursor.after(events[-1], selection, order).encode()
        return EventsPage(events, len(events), selection.start, selection.end, following)
