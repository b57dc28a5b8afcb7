"""The query parameters of one request: those that its resource declares, and none besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import falcon
from shared.http import ApiError
from shared.stores.base import Dimension, DimensionValue, Selection

from query_api.parameters import END, FILTERS, START, Parameter

HOUR = 3_600
DAY = 86_400

T = TypeVar("T")


class Params:
    """The values of `declared`. Reading another one is a LookupError: it is not in the document.

    Raises ApiError, naming the parameter, for one that is not declared, wrong or repeated.
    """

    def __init__(self, request: falcon.Request, declared: Sequence[Parameter[Any]]) -> None:
        given = request.params
        known = {parameter.name for parameter in declared}
        for name in given:
            if name not in known:
                listed = ", ".join(sorted(known)) or "none"
                raise bad_parameter(name, f"is not a parameter here; known are: {listed}")
        self._values = {each.name: _read(each, given.get(each.name, [])) for each in declared}

    def __getitem__(self, parameter: Parameter[T]) -> T:
        return cast(T, self._values[parameter.name])

    def selection(
        self, now: float, *, default_span: int, before: Selection | None = None
    ) -> Selection:
        """`start`, `end` and the filters. `default_span` is in seconds, before `end`.

        What is left out is as it is in `before`, where that is given.
        """
        end = _first(self[END], before.end if before else int(now))
        start = _first(self[START], before.start if before else max(0, end - default_span))
        if start > end:
            raise bad_parameter("start", f"{start} is after end, {end}")
        filters = self._filters() or (before.filters if before else {})
        return Selection(start=start, end=end, filters=filters)

    def _filters(self) -> dict[Dimension, frozenset[DimensionValue]]:
        given = {each.name: self._values[each.name] for each in FILTERS}
        return {
            cast(Dimension, name): frozenset(values) for name, values in given.items() if values
        }


def _first(value: int | None, default: int) -> int:
    return default if value is None else value


def _read(parameter: Parameter[Any], given: str | list[str]) -> Any:
    texts = [given] if isinstance(given, str) else given
    try:
        values = [_checked(parameter.parse, text) for text in texts]
    except ValueError as error:
        raise bad_parameter(parameter.name, str(error)) from None
    if parameter.repeated:
        return values
    if len(values) > 1:
        raise bad_parameter(parameter.name, "is given more than once")
    return values[0] if values else parameter.default


def _checked(parse: Callable[[str], T], text: str) -> T:
    # No stored text holds NUL, and some stores refuse to look for it.
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return parse(text)


def bad_parameter(name: str, problem: str) -> ApiError:
    return ApiError(falcon.HTTP_400, "invalid_parameter", f"{name}: {problem}", param=name)
