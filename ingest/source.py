"""A source: a format that events come in, the path that takes it, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field

from shared.events import ReceivedEvent
from shared.openapi import Content
from shared.settings import Settings

from ingest.admission import Rejection
from ingest.replies import Replies

Received = Sequence[ReceivedEvent | Rejection | None]
"""What each event of a body is; None for one that a producer left empty."""
Parser = Callable[[bytes, int], Received]
"""A body, and how many events it may hold, to its events. Raises Malformed and TooManyEvents."""
NO_LIMIT = 1_000_000_000


class Malformed(Exception):
    """The body as a whole is not of the format that its Content-Type names."""


class TooManyEvents(Exception):
    """The body holds `count` events, which is over the limit."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} events")
        self.count = count


def require_few(events: Sized, limit: int) -> None:
    """Raise TooManyEvents over the limit.

    To be asked before events are looked at one by one: so many bad ones would take all of the
    service's time.
    """
    if len(events) > limit:
        raise TooManyEvents(len(events))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a producer may post to `path`.

    `name` stands in metrics and on the queue; `parsers` are by content type, and `body` tells the
    OpenAPI document what each of them takes. `replies` is how it is answered, `max_body_bytes` the
    setting that bounds a body.
    """

    name: str
    path: str
    summary: str
    about: str
    parsers: Mapping[str, Parser]
    body: Content
    replies: Replies = field(default_factory=Replies)
    max_body_bytes: Callable[[Settings], int] = lambda settings: settings.max_body_bytes

    def __post_init__(self) -> None:
        if self.parsers.keys() != self.body.keys():
            raise ValueError(f"{self.path}: each content type needs a parser and a description")
