"""`GET /openapi.json` and `GET /docs`."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import falcon
import pytest
from falcon.inspect import inspect_routes

from query_api.app import create_app
from shared.http import Right
from shared.openapi import JSON, Answer, Operation, describe, document
from shared.queue_admin import QueueAdmin
from shared.settings import Settings
from shared.stores.memory import MemoryStore
from tests.query_api.server import NOBODY, QueryServer

NOT_OURS = {"OPTIONS"}
"""falcon answers these by itself."""


def _document(query: QueryServer) -> dict[str, Any]:
    answer = query.http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def test_every_route_is_in_the_document(query: QueryServer) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    app = create_app(MemoryStore(max_events=1), QueueAdmin.from_url(NOBODY), settings)
    routes = {
        (route.path, method.method.lower())
        for route in inspect_routes(app)
        for method in route.methods
        if method.method not in {*NOT_OURS, "HEAD"} and not method.internal
    }
    described = {
        (path, method) for path, methods in _document(query)["paths"].items() for method in methods
    }
    assert described == routes


def test_a_responder_that_nothing_describes_is_an_error_at_start() -> None:
    class Plain:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            """Nothing."""

    with pytest.raises(TypeError, match=r"GET /plain is not described"):
        document("t", "a", {"/plain": Plain()}, guarded=False)


def test_the_document_names_the_parameters_that_are_taken(query: QueryServer) -> None:
    for path, methods in _document(query)["paths"].items():
        for method, operation in methods.items():
            if not path.startswith("/analytics/"):
                continue
            answer = query.http.request(method, path, params={"surprise": "1"})
            names = sorted(each["name"] for each in operation["parameters"])
            known = ", ".join(names) or "none"
            assert answer.status_code == 400, path
            assert answer.json()["error"]["message"].endswith(f"known are: {known}"), path


def test_bounds_and_defaults_are_those_that_are_checked(query: QueryServer) -> None:
    operation = _document(query)["paths"]["/analytics/events"]["get"]
    (limit,) = (each for each in operation["parameters"] if each["name"] == "limit")
    schema = limit["schema"]

    assert (schema["minimum"], schema["maximum"], schema["default"]) == (0, 10_000, 1_000)
    assert query.ask("events", limit=schema["maximum"]).status_code == 200
    assert query.ask("events", limit=schema["maximum"] + 1).status_code == 400


def test_every_reference_of_the_document_leads_somewhere(query: QueryServer) -> None:
    found = _document(query)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', query.http.get("/openapi.json").text))

    assert {"Event", "Stats", "ErrorAnswer"} <= names
    assert names == set(found["components"]["schemas"])


class Guarded:
    @describe(Operation(summary="s", right=Right.ADMIN, answers={200: Answer(about="done")}))
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Nothing."""


def test_where_tokens_are_set_the_document_asks_for_one() -> None:
    routes = {"/x/{name}": Guarded()}
    found = document("t", "a", routes, guarded=True)
    operation = found["paths"]["/x/{name}"]["post"]

    assert operation["security"] == [{"bearer": []}]
    assert operation["responses"].keys() == {"200", "401", "403"}
    assert operation["responses"]["401"]["content"].keys() == {JSON}
    assert "admin right" in operation["description"]
    assert [each["name"] for each in operation["parameters"]] == ["name"]
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document("t", "a", routes, guarded=False)["paths"]["/x/{name}"]["post"]["security"] == []


def test_the_page_runs_its_own_script_alone_and_loads_nothing(query: QueryServer) -> None:
    answer = query.http.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert "//" not in re.sub(r"<script>.*</script>", "", answer.text, flags=re.DOTALL)
    assert "http:" not in answer.text
    assert "https:" not in answer.text
