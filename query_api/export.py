"""`GET /analytics/export`: the events of a range as a file, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import falcon
from shared.events import Event
from shared.http import Right
from shared.openapi import Answer, Operation, describe
from shared.stores.base import Store

from query_api.answers import BAD_PARAMETER, STORE_AWAY, Clock
from query_api.columns import COLUMNS, DEFAULT_COLUMNS
from query_api.compress import accepts_gzip
from query_api.formats import FORMATS, gzipped
from query_api.parameters import SELECTION, choice, names
from query_api.params import DAY, Params

FORMAT = choice("format", tuple(FORMATS), "json", about="What kind of file.")
CHOSEN = names(
    "columns",
    tuple(COLUMNS),
    DEFAULT_COLUMNS,
    about="Columns of a CSV or Parquet file, `all` for each one; Parquet has them all by default.",
)
PARAMETERS = (*SELECTION, FORMAT, CHOSEN)

OPERATION = Operation(
    summary="The events of a range as a file, a day where none is given",
    about="Streamed: as large as you like. `Accept-Encoding: gzip` is honoured.",
    right=Right.QUERY,
    parameters=PARAMETERS,
    answers={
        200: Answer(
            about="The file",
            content={each.media_type: each.schema for each in FORMATS.values()},
            headers={"Content-Disposition": "The name of the file"},
        ),
        400: BAD_PARAMETER,
        503: STORE_AWAY,
    },
)


class ExportResource:
    """The events of a range as a file, streamed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @describe(OPERATION)
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        params = Params(request, PARAMETERS)
        selection = params.selection(self._clock(), default_span=DAY)
        name, columns = params[FORMAT], params[CHOSEN]
        found = FORMATS[name]
        chunks = _begun(self._store.scan(selection))
        parts = found.write(chunks, selection, columns or found.columns)
        if accepts_gzip(request):
            response.set_header("Content-Encoding", "gzip")
            parts = gzipped(parts)
        response.set_header("Vary", "Accept-Encoding")
        response.content_type = found.media_type
        response.downloadable_as = f"analytics_{selection.start}_to_{selection.end}.{name}"
        response.stream = parts


def _begun(chunks: Iterator[list[Event]]) -> Iterator[list[Event]]:
    """`chunks` with the first already read, so that a store that is away is still an error."""
    first = next(chunks, None)
    return chunks if first is None else chain([first], chunks)
