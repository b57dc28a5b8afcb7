"""Tokens, health, errors and origins of the query service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.query_api.server import QueryServer
from tests.stores.samples import make_event

READS = ["stats", "events", "aggregate", "export", "timeseries", "top"]
ORIGIN = "https://board.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    """A service with a token of each kind, on a broker that is not there."""
    with QueryServer(
        tmp_path_factory.mktemp("guarded"),
        INGEST_TOKENS="in-token-1",
        QUERY_TOKENS="read-token-1, read-token-2",
        ADMIN_TOKENS="admin-token-1",
        CORS_ORIGINS=ORIGIN,
    ) as running:
        running.store.append([make_event("a")])
        yield running


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "unauthorized"),
        (_bearer("wrong-token-1"), 401, "unauthorized"),
        (_bearer("read-token"), 401, "unauthorized"),
        ({"Authorization": "Bearer"}, 401, "unauthorized"),
        ({"Authorization": "Basic read-token-1"}, 401, "unauthorized"),
        ({"Authorization": "read-token-1"}, 401, "unauthorized"),
        (_bearer("in-token-1"), 403, "forbidden"),
        (_bearer("read-token-1"), 200, None),
        (_bearer("read-token-2"), 200, None),
        ({"Authorization": "bearer read-token-1"}, 200, None),
        (_bearer("admin-token-1"), 200, None),
    ],
)
def test_reading_needs_the_query_right(
    guarded: QueryServer, path: str, headers: dict[str, str], status: int, kind: str | None
) -> None:
    answer = guarded.http.get(f"/analytics/{path}", headers=headers)

    assert answer.status_code == status
    assert answer.json().get("error", {}).get("type") == kind
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("path", ["clear", "dead-letters/replay"])
@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "unauthorized"),
        (_bearer("wrong-token-1"), 401, "unauthorized"),
        (_bearer("in-token-1"), 403, "forbidden"),
        (_bearer("read-token-1"), 403, "forbidden"),
        # It was let through, to a broker that is not there.
        (_bearer("admin-token-1"), 503, "queue_unavailable"),
    ],
)
def test_clearing_and_replaying_need_the_admin_right(
    guarded: QueryServer, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = guarded.http.post(f"/analytics/{path}", headers=headers)

    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert guarded.store.stats().total_events == 1


@pytest.mark.parametrize("path", ["/healthz/live", "/healthz/ready"])
def test_health_needs_no_token(guarded: QueryServer, path: str) -> None:
    answer = guarded.http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_any_token_set_anyone_may_ask(query: QueryServer) -> None:
    assert query.ask("stats").status_code == 200
    answer = query.http.get("/analytics/stats", headers=_bearer("whatever"))
    assert answer.status_code == 200


def test_a_browser_of_an_allowed_origin_may_ask_with_a_token(guarded: QueryServer) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = guarded.http.options("/analytics/stats", headers=asked)
    answer = guarded.http.get(
        "/analytics/stats", headers={"Origin": ORIGIN, **_bearer("read-token-1")}
    )

    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "GET" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] in ("authorization", "*")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_other_origins_are_not_allowed(guarded: QueryServer, query: QueryServer) -> None:
    for server in (guarded, query):
        answer = server.http.get(
            "/analytics/stats",
            headers={"Origin": "https://evil.example", **_bearer("read-token-1")},
        )
        assert "access-control-allow-origin" not in answer.headers


def test_no_token_is_ever_logged(tmp_path: Path) -> None:
    tokens = {"INGEST_TOKENS": "canary-i", "QUERY_TOKENS": "canary-q", "ADMIN_TOKENS": "canary-a"}
    with QueryServer(tmp_path, LOG_LEVEL="debug", **tokens) as query:
        for token in (*tokens.values(), "canary-wrong"):
            for path in (*READS, "nowhere", "stats?surprise=1"):
                query.http.get(f"/analytics/{path}", headers=_bearer(token))
            query.http.post("/analytics/clear", headers=_bearer(token))
        query.path.unlink(missing_ok=True)
        query.path.mkdir()
        assert query.http.get("/analytics/stats", headers=_bearer("canary-q")).status_code == 503

    assert "canary" not in query.service.output()


def test_an_unknown_path_and_a_wrong_method_say_so(query: QueryServer) -> None:
    missing = query.http.get("/analytics/nowhere")
    wrong = query.http.get("/analytics/clear")

    assert missing.status_code == 404
    assert missing.json() == {
        "error": {"message": "no such path: /analytics/nowhere", "type": "not_found"}
    }
    assert wrong.status_code == 405
    assert wrong.headers["allow"].split(", ")[0] == "POST"
    assert wrong.json()["error"]["type"] == "method_not_allowed"


def test_a_store_that_is_away_is_503_and_not_ready(tmp_path: Path) -> None:
    with QueryServer(tmp_path) as query:
        assert query.http.get("/healthz/ready").status_code == 200
        query.path.mkdir()

        for path in ["/healthz/ready", *(f"/analytics/{name}" for name in READS)]:
            answer = query.http.get(path)
            assert answer.status_code == 503, path
            assert answer.json()["error"]["type"] == "store_unavailable"
            assert int(answer.headers["retry-after"]) > 0
            assert str(tmp_path) not in answer.text
        assert query.http.get("/healthz/live").status_code == 200
