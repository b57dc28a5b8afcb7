"""Who may post: bearer tokens and the rights that they carry."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.harness import Pipeline, event


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An ingest with tokens, and no worker."""
    tokens = {
        "INGEST_TOKENS": "gateway-one, gateway-two,clé-étrangère",
        "QUERY_TOKENS": "dashboard",
        "ADMIN_TOKENS": "operator",
    }
    with Pipeline(tmp_path_factory.mktemp("guarded"), workers=0, **tokens) as running:
        yield running


def post(guarded: Pipeline, authorization: str | bytes | None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return guarded.post([event(1)], headers=headers)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer gateway-one",
        "bearer gateway-two",
        "BEARER  gateway-one",
        "Bearer clé-étrangère".encode(),
    ],
)
def test_a_token_that_may_post_is_taken(guarded: Pipeline, authorization: str) -> None:
    assert post(guarded, authorization).status_code == 202


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer gateway-three",
        "Bearer gateway-on",
        "Bearer gateway-one2",
        "Bearer gateway-one, gateway-two",
        "Basic gateway-one",
        "gateway-one",
        b"Bearer \xff\xfe",
    ],
)
def test_without_a_known_token_it_is_401(
    guarded: Pipeline, authorization: str | bytes | None
) -> None:
    answer = post(guarded, authorization)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "unauthorized"
    assert "gateway" not in answer.text


@pytest.mark.parametrize("token", ["dashboard", "operator"])
def test_a_token_without_the_right_is_403(guarded: Pipeline, token: str) -> None:
    answer = post(guarded, f"Bearer {token}")

    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "forbidden"


def test_a_large_body_without_a_token_is_refused_and_the_connection_goes_on(
    guarded: Pipeline,
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = guarded.post(None, content=b" " * 5_000_000, headers=headers)

    assert answer.status_code == 401
    assert post(guarded, "Bearer gateway-one").status_code == 202


@pytest.mark.parametrize("path", ["/healthz/live", "/healthz/ready", "/docs", "/openapi.json"])
def test_health_and_the_description_need_no_token(guarded: Pipeline, path: str) -> None:
    assert guarded.http.get(guarded.ingest_url + path).status_code == 200


def test_metrics_need_a_token_of_any_kind(guarded: Pipeline) -> None:
    url = f"{guarded.ingest_url}/metrics"
    statuses = {
        token: guarded.http.get(url, headers={"Authorization": f"Bearer {token}"}).status_code
        for token in ("gateway-one", "dashboard", "operator", "stranger")
    }

    assert statuses == {"gateway-one": 200, "dashboard": 200, "operator": 200, "stranger": 401}
    assert guarded.http.get(url).status_code == 401
