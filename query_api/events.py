"""`GET /analytics/events`."""

from __future__ import annotations

import falcon
from shared.stores.base import Store

from query_api.answers import Clock, answer
from query_api.params import HOUR, Cursor, Params

MAX_LIMIT = 10_000
DEFAULT_LIMIT = 1_000


class EventsResource:
    """`GET`: events of a range, a page at a time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, self._clock())
        cursor = params.cursor()
        selection = params.selection(default_span=HOUR, cursor=cursor)
        limit = params.integer("limit", DEFAULT_LIMIT, least=0, most=MAX_LIMIT)
        order = params.order(cursor)
        params.done()
        after = cursor.position if cursor else None
        # One more than asked for tells whether another page follows.
        found = (
            self._store.query(selection, limit=limit + 1, order=order, after=after) if limit else []
        )
        events = found[:limit]
        following = None
        if len(found) > limit:
            following = Cursor.after(events[-1], selection, order).encode()
        answer(
            response,
            {
                "events": events,
                "count": len(events),
                "start": selection.start,
                "end": selection.end,
                "next_cursor": following,
            },
        )
