"""What ingest says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from falcon.inspect import inspect_routes

from ingest.app import SOURCES, create_app
from ingest.source import Source
from shared.settings import Settings
from shared.stream import EventQueue, connect
from tests.harness import Pipeline

NOBODY = "redis://127.0.0.1:1/0"


def _app() -> Any:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    return create_app(EventQueue(connect(NOBODY)), settings)


def test_every_route_is_in_the_document(pipeline: Pipeline) -> None:
    found = pipeline.http.get(f"{pipeline.ingest_url}/openapi.json").json()
    routes = {
        (route.path, method.method.lower())
        for route in inspect_routes(_app())
        for method in route.methods
        if method.method not in ("OPTIONS", "HEAD") and not method.internal
    }
    described = {(path, method) for path, methods in found["paths"].items() for method in methods}

    assert described == routes
    assert {source.path for source in SOURCES} <= found["paths"].keys()


def test_each_content_type_of_a_source_is_described(pipeline: Pipeline) -> None:
    found = pipeline.http.get(f"{pipeline.ingest_url}/openapi.json").json()
    for source in SOURCES:
        body = found["paths"][source.path]["post"]["requestBody"]
        assert body["content"].keys() == source.parsers.keys()


def test_a_source_without_a_description_of_its_body_is_an_error() -> None:
    with pytest.raises(ValueError, match="/x: each content type needs"):
        Source(
            name="x",
            path="/x",
            summary="",
            about="",
            parsers={"text/x": lambda body, limit: []},
            body={},
        )


def test_the_schema_of_an_event_is_as_patient_as_ingest_is(pipeline: Pipeline) -> None:
    found = pipeline.http.get(f"{pipeline.ingest_url}/openapi.json").json()
    schemas = found["components"]["schemas"]
    null = {"type": "null"}

    assert schemas["ReceivedEvent"]["required"] == ["request"]
    assert schemas["ReceivedRequest"]["properties"]["endpoint"] == {"type": "string"}
    assert null in schemas["ReceivedEvent"]["properties"]["auth"]["anyOf"]
    assert null in schemas["ReceivedRequest"]["properties"]["stream"]["anyOf"]
    event = {"id": None, "request": {"endpoint": "/" * 2_000, "stream": None}, "auth": None}
    assert pipeline.post(event).json() == {"accepted": 1, "rejected": []}


def test_the_page_is_served_with_a_strict_policy(pipeline: Pipeline) -> None:
    answer = pipeline.http.get(f"{pipeline.ingest_url}/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert msgspec.json.decode(pipeline.http.get(f"{pipeline.ingest_url}/openapi.json").content)
