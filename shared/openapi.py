"""An OpenAPI 3.1 document, made from the types that requests and answers are made of.

A responder is described where it is written: `@describe(Operation(…))`. `document` goes through the
routes of a service, and a responder that nothing describes is an error at start.
Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol, TypeVar

import msgspec

from shared.http import ErrorAnswer, Right

JSON = "application/json"
METHODS = ("get", "post", "put", "patch", "delete")
_REFERENCE = "#/components/schemas/{name}"

Schema = Mapping[str, Any]
Content = Mapping[str, Any]
"""Media type to a type of ours, or to a schema where no type of ours says it."""

F = TypeVar("F", bound=Callable[..., Any])

TEXT: Schema = {"type": "string"}
BINARY: Schema = {}
"""What a schema of JSON can't tell: bytes."""


class Described(Protocol):
    """A query parameter, as far as a document is concerned."""

    def document(self) -> Schema:
        """Its OpenAPI parameter object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What comes back with one status. `headers` maps each name to what it says."""

    about: str
    content: Content = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it asks for, and what it answers with.

    `right` is what a token must carry; NONE needs no token. `about` may be Markdown.
    """

    summary: str
    about: str = ""
    right: Right = Right.NONE
    parameters: Sequence[Described] = ()
    body: Content = field(default_factory=dict)
    body_required: bool = True
    answers: Mapping[int, Answer]


def describe(operation: Operation) -> Callable[[F], F]:
    """Put down, on a responder, what it is. The responder itself stays as it is."""

    def put_down(responder: F) -> F:
        responder.operation = operation  # type: ignore[attr-defined]
        return responder

    return put_down


def operation_of(resource: object, method: str) -> Operation | None:
    """What describes the responder of a method (in either case), if anything does.

    A resource whose description depends on how it was made has it in `operations`, by method.
    """
    own: Mapping[str, Operation] = getattr(resource, "operations", {})
    responder = getattr(resource, f"on_{method.lower()}", None)
    return own.get(method.lower()) or getattr(responder, "operation", None)


def reference(kind: type) -> Schema:
    """The schema of a type that some other content of the document is made of."""
    return {"$ref": _REFERENCE.format(name=kind.__name__)}


def error(about: str, kind: Any = ErrorAnswer, *, retry: bool = False) -> Answer:
    """An answer with an error body."""
    headers = {"Retry-After": "Seconds after which to ask again"} if retry else {}
    return Answer(about=about, content={JSON: kind}, headers=headers)


def operations(routes: Mapping[str, object]) -> Iterator[tuple[str, str, Operation]]:
    """Path, method and description of each responder. Raises TypeError where one has none."""
    for path, resource in routes.items():
        for method in METHODS:
            if not hasattr(resource, f"on_{method}"):
                continue
            if (found := operation_of(resource, method)) is None:
                raise TypeError(f"{method.upper()} {path} is not described (shared.openapi)")
            yield path, method, found


def document(
    title: str, about: str, routes: Mapping[str, object], *, guarded: bool
) -> dict[str, Any]:
    """The document of a service. `guarded`: tokens are set, so requests must carry one."""
    found = list(operations(routes))
    schemas = _Schemas(operation for _, _, operation in found)
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in found:
        described = _operation(path, method, operation, schemas, guarded=guarded)
        paths.setdefault(path, {})[method] = described
    components: dict[str, Any] = {"schemas": schemas.components}
    if guarded:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": about, "version": version("routiium-analytics")},
        "paths": paths,
        "components": components,
    }


class _Schemas:
    """The schemas of all types that operations name; each stands in `components` once."""

    def __init__(self, found: Iterable[Operation]) -> None:
        types: dict[int, Any] = {}
        for operation in found:
            contents = [operation.body, *(each.content for each in operation.answers.values())]
            for kind in (kind for content in contents for kind in content.values()):
                if not isinstance(kind, Mapping):
                    types[id(kind)] = kind
        types[id(ErrorAnswer)] = ErrorAnswer
        schemas, self.components = msgspec.json.schema_components(
            list(types.values()), ref_template=_REFERENCE
        )
        self._by_type = dict(zip(types, schemas, strict=True))

    def of(self, kind: Any) -> Schema:
        return kind if isinstance(kind, Mapping) else self._by_type[id(kind)]

    def content(self, content: Content) -> dict[str, Any]:
        return {media: {"schema": self.of(kind)} for media, kind in content.items()}


def _operation(
    path: str, method: str, operation: Operation, schemas: _Schemas, *, guarded: bool
) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    answers = dict(operation.answers)
    locked = guarded and bool(operation.right)
    if locked:
        answers[401] = error("No token, or one that is not known")
        if operation.right != Right.ANY:
            answers[403] = error(f"The token lacks the {_right(operation)} right")
    described: dict[str, Any] = {
        "operationId": "_".join([method, *re.findall(r"\w+", path)]),
        "summary": operation.summary,
        "description": _about(operation),
        "tags": [re.findall(r"\w+", path)[0] if path != "/" else "dashboard"],
        "security": [{"bearer": []}] if locked else [],
        "parameters": [*map(_path_parameter, names), *(p.document() for p in operation.parameters)],
        "responses": {
            str(status): _answer(answer, schemas) for status, answer in sorted(answers.items())
        },
    }
    if operation.body:
        content = schemas.content(operation.body)
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _about(operation: Operation) -> str:
    needed = {Right.NONE: "Needs no token.", Right.ANY: "Needs a token, of any kind."}.get(
        operation.right, f"Needs the {_right(operation)} right."
    )
    return "\n\n".join(filter(None, [operation.about, needed]))


def _right(operation: Operation) -> str:
    return str(operation.right.name).lower()


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.about}
    if answer.content:
        described["content"] = schemas.content(answer.content)
    if answer.headers:
        described["headers"] = {
            name: {"description": about, "schema": TEXT} for name, about in answer.headers.items()
        }
    return described
