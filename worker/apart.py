"""Taking a batch apart that the store refuses, so that only what is bad in it is lost to the store.

Plain and synchronous: it runs in the thread that appends, a slice of time after another, so that a
bad event costs appends that fail and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.errors import StoreUnavailable
from shared.events import Event

from worker.decode import Item
from worker.tally import newly_written


class Group(NamedTuple):
    """Items to append together; `failures` counts the appends with them that have failed."""

    items: list[Item]
    failures: int


@dataclass(slots=True)
class Outcome:
    """What a slice came to. `rest` was not come to, in order; `away` ended the slice early.

    `written` are the events that are taken for the new ones.
    """

    rest: list[Group]
    new: int = 0
    seen: int = 0
    written: list[Event] = field(default_factory=list)
    bad: list[tuple[Item, Exception]] = field(default_factory=list)
    away: StoreUnavailable | None = None


def halves(group: Group) -> list[Group]:
    """The same items as two groups, or as one where there is only one."""
    items, failures = group
    middle = len(items) // 2
    return [Group(part, failures) for part in (items[:middle], items[middle:]) if part]


def append_apart(
    append: Callable[[Sequence[Event]], int],
    groups: list[Group],
    *,
    tries: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Append groups in order for about `seconds`, and halve those that fail.

    An event is bad once it fails alone and has failed `tries` times, alone or with others; one
    that is replayed, once it fails alone. Takes at least one step where there is anything to do.
    """
    outcome = Outcome(groups[::-1])
    stack = outcome.rest
    deadline = clock() + seconds
    while stack:
        group = stack.pop()
        try:
            events = [item.event for item in group.items]
            new = append(events)
        except StoreUnavailable as error:
            stack.append(group)
            outcome.away = error
            break
        except Exception as error:
            _refused(outcome, Group(group.items, group.failures + 1), error, tries)
        else:
            outcome.new += new
            outcome.written += newly_written(events, new)
            outcome.seen += len(group.items) - new
        if clock() >= deadline:
            break
    stack.reverse()
    return outcome


def _refused(outcome: Outcome, group: Group, error: Exception, tries: int) -> None:
    first = group.items[0]
    if len(group.items) == 1 and (group.failures >= tries or first.attempts):
        outcome.bad.append((first, error))
    else:
        outcome.rest += reversed(halves(group))
