"""A file that Routiium itself has written is served as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.query_api.server import QueryServer

AT = 1_767_225_600
RANGE = {"start": AT, "end": AT + 99}


def _line(name: str, at: int, **changes: Any) -> bytes:
    """A line with every group as Routiium writes them; `changes` replace whole groups."""
    event: dict[str, Any] = {
        "id": name,
        "timestamp": at,
        "request": {
            "endpoint": "/v1/chat/completions",
            "method": "POST",
            "model": "gpt-4o-mini",
            "stream": False,
            "size_bytes": 1834,
            "message_count": 4,
            "input_tokens": 215,
            "user_agent": "python-requests/2.32.3",
            "client_ip": "203.0.113.9",
        },
        "response": {
            "status_code": 200,
            "size_bytes": 2210,
            "output_tokens": 96,
            "success": True,
            "error_message": None,
        },
        "performance": {
            "duration_ms": 1840,
            "ttfb_ms": None,
            "upstream_duration_ms": 1799,
            "tokens_per_second": 52.17,
        },
        "auth": {
            "authenticated": True,
            "api_key_id": "key_5d1c",
            "api_key_label": "staging",
            "auth_method": "bearer",
        },
        "routing": {
            "backend": "openai",
            "upstream_mode": "chat",
            "mcp_enabled": True,
            "mcp_servers": ["files", "search"],
            "system_prompt_applied": True,
        },
        "token_usage": {
            "prompt_tokens": 220,
            "completion_tokens": 96,
            "total_tokens": 316,
            "cached_tokens": 128,
            "reasoning_tokens": None,
        },
        "cost": {
            "input_cost": 0.000033,
            "output_cost": 0.0000576,
            "cached_cost": None,
            "total_cost": 0.0000906,
            "currency": "USD",
            "pricing_model": "gpt-4o-mini",
        },
        **changes,
    }
    return json.dumps({key: part for key, part in event.items() if part != {}}).encode() + b"\n"


def _file() -> bytes:
    failed = {"status_code": 502, "size_bytes": 88, "output_tokens": None, "success": False}
    return b"".join(
        [
            # Older lines know neither token_usage nor cost.
            _line("older", AT, token_usage={}, cost={}),
            _line("newer", AT + 10),
            b'{"id": "half a li{"id": "grown together", "timest\n',
            _line("null", AT + 20, token_usage=None, cost=None, response=None),
            _line("failed", AT + 30, response={**failed, "error_message": "bad gateway"}, cost={}),
            _line("torn", AT + 40)[:-200],
        ]
    )


def test_its_events_are_answered_whole(query: QueryServer) -> None:
    query.path.write_bytes(_file())
    body = query.get("events", **RANGE, order="asc")
    older, newer, null, failed = body["events"]

    assert [event["id"] for event in body["events"]] == ["older", "newer", "null", "failed"]
    given = json.loads(_line("newer", AT + 10))
    given["token_usage"]["cache_write_tokens"] = None
    assert newer == given
    assert older["performance"]["duration_ms"] == 1840
    assert older["token_usage"] is older["cost"] is None
    assert null["response"] is None
    assert failed["response"]["error_message"] == "bad gateway"


def test_its_figures_add_up(query: QueryServer) -> None:
    query.path.write_bytes(_file())
    found = query.get("aggregate", **RANGE)

    assert query.get("stats")["total_events"] == found["total_requests"] == 4
    assert (found["successful_requests"], found["failed_requests"]) == (2, 1)
    assert found["total_input_tokens"] == 215 + 220 + 215 + 220
    assert found["total_output_tokens"] == 96 + 96 + 0 + 96
    assert found["models_used"] == {"gpt-4o-mini": 4}
    assert found["unpriced_requests"] == 3
    assert found["avg_duration_ms"] == 1840.0


def test_its_torn_line_is_mended_by_the_next_append_alone(query: QueryServer) -> None:
    query.path.write_bytes(_file())
    before = query.path.read_bytes()
    query.get("export", **RANGE)
    assert query.path.read_bytes() == before

    assert query.store.append([]) == 0
    assert query.path.read_bytes() == before[: before.rindex(b"\n") + 1]
    assert query.get("export", **RANGE)["count"] == 4


def test_a_file_is_served_though_nothing_can_write_to_it(tmp_path: Path) -> None:
    (tmp_path / "store.jsonl").write_bytes(_file())
    (tmp_path / "store.jsonl").chmod(0o444)
    with QueryServer(tmp_path) as query:
        assert query.get("stats")["total_events"] == 4
        assert not (tmp_path / "store.jsonl.lock").exists()
