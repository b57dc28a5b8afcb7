"""The table of who may ask for what, for both services."""

from __future__ import annotations

from collections.abc import Iterator

PUBLIC, INGEST, QUERY, ADMIN, ANY = "public", "ingest", "query", "admin", "any"
TOKENS = {
    "INGEST_TOKENS": "canary-in",
    "QUERY_TOKENS": "canary-read",
    "ADMIN_TOKENS": "canary-admin",
}
ASKERS = {
    "nobody": None,
    "wrong": "canary-wrong",
    "ingest": "canary-in",
    "query": "canary-read",
    "admin": "canary-admin",
}
ALLOWED = {
    PUBLIC: set(ASKERS),
    INGEST: {"ingest"},
    QUERY: {"query", "admin"},
    ADMIN: {"admin"},
    ANY: {"ingest", "query", "admin"},
}
ENDPOINTS: dict[str, dict[str, str]] = {
    "query": {
        "GET /": PUBLIC,
        "GET /static/{name}": PUBLIC,
        "GET /docs": PUBLIC,
        "GET /openapi.json": PUBLIC,
        "GET /healthz/live": PUBLIC,
        "GET /healthz/ready": PUBLIC,
        "GET /metrics": QUERY,
        "GET /analytics/stats": QUERY,
        "GET /analytics/events": QUERY,
        "GET /analytics/aggregate": QUERY,
        "GET /analytics/timeseries": QUERY,
        "GET /analytics/top": QUERY,
        "GET /analytics/export": QUERY,
        "GET /analytics/pipeline": QUERY,
        "GET /analytics/dead-letters": QUERY,
        "POST /analytics/dead-letters/replay": ADMIN,
        "POST /analytics/clear": ADMIN,
    },
    "ingest": {
        "GET /docs": PUBLIC,
        "GET /openapi.json": PUBLIC,
        "GET /healthz/live": PUBLIC,
        "GET /healthz/ready": PUBLIC,
        "GET /metrics": ANY,
        "POST /analytics/events": INGEST,
        "POST /sources/litellm": INGEST,
        "POST /v1/traces": INGEST,
    },
}


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Service, endpoint, who asks, and what that is answered with: allowed, 401 or 403."""
    for service, endpoints in ENDPOINTS.items():
        for endpoint, right in endpoints.items():
            for asker in ASKERS:
                refusal = "401" if asker in ("nobody", "wrong") else "403"
                yield service, endpoint, asker, "allowed" if asker in ALLOWED[right] else refusal
