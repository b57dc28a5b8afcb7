"""Each endpoint of both services × nobody, a wrong token, and a token of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.access import ASKERS, ENDPOINTS, TOKENS, rows
from tests.harness import Pipeline


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Both services with a token of each kind, saying all that they have to say."""
    settings = {**TOKENS, "LOG_LEVEL": "debug"}
    with Pipeline(tmp_path_factory.mktemp("rights"), workers=0, **settings) as running:
        yield running


def _ask(guarded: Pipeline, service: str, endpoint: str, asker: str) -> httpx.Response:
    url = guarded.query_url if service == "query" else guarded.ingest_url
    method, _, path = endpoint.partition(" ")
    token = ASKERS[asker]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return guarded.http.request(method, url + path.replace("{name}", "none"), headers=headers)


@pytest.mark.parametrize(("service", "endpoint", "asker", "expected"), list(rows()))
def test_who_may_ask_for_what(
    guarded: Pipeline, service: str, endpoint: str, asker: str, expected: str
) -> None:
    answer = _ask(guarded, service, endpoint, asker)

    if expected == "allowed":
        assert answer.status_code not in (401, 403), answer.text
        assert answer.status_code < 500, answer.text
    else:
        kinds = {"401": "unauthorized", "403": "forbidden"}
        assert (str(answer.status_code), answer.json()["error"]["type"]) == (
            expected,
            kinds[expected],
        )
        assert ("www-authenticate" in answer.headers) == (expected == "401")


@pytest.mark.parametrize("service", ENDPOINTS)
def test_the_table_holds_every_endpoint(guarded: Pipeline, service: str) -> None:
    url = guarded.query_url if service == "query" else guarded.ingest_url
    paths = guarded.http.get(f"{url}/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    assert found == set(ENDPOINTS[service])


@pytest.mark.parametrize("service", ENDPOINTS)
def test_the_document_asks_for_a_token_where_one_is_needed(guarded: Pipeline, service: str) -> None:
    url = guarded.query_url if service == "query" else guarded.ingest_url
    paths = guarded.http.get(f"{url}/openapi.json").json()["paths"]
    for endpoint, right in ENDPOINTS[service].items():
        method, _, path = endpoint.partition(" ")
        assert bool(paths[path][method.lower()]["security"]) == (right != "public"), endpoint


def test_no_token_is_ever_logged(guarded: Pipeline) -> None:
    for service, endpoint, asker, _ in rows():
        _ask(guarded, service, endpoint, asker)
    for url in (guarded.query_url, guarded.ingest_url):
        for token in ASKERS.values():
            headers = {"Authorization": f"Bearer {token}"}
            guarded.http.get(f"{url}/nowhere", headers=headers)
            guarded.http.post(f"{url}/analytics/events", headers=headers, content=b"{")

    assert "Starting gunicorn" in guarded.logs()
    assert "canary" not in guarded.logs()
