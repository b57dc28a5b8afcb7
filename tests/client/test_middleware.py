"""The middleware: what it sees of a request becomes an event, and it changes nothing."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import pytest

from routiium_client import AnalyticsClient, annotate, asgi, capture, wsgi
from routiium_client.event import key_id
from tests.client.fake_ingest import FakeIngest
from tests.client.serving import SSE, Kept, Serving, serve

CANARY = "the-canary-sings"
USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
CHAT = {
    "messages": [{"role": "system", "content": CANARY}, {"role": "user", "content": CANARY}],
    "model": "gpt-4o-mini",
}
COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [{"message": {"role": "assistant", "content": f'{CANARY} "usage": {{"a": 1}}'}}],
    "usage": USAGE,
}


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client() -> Kept:
    return Kept(key_salt="salty")


def sse(*events: Any) -> list[bytes]:
    lines = [e if isinstance(e, str) else json.dumps(e) for e in events]
    return [f"data: {line}\n\n".encode() for line in lines]


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_request_becomes_a_whole_event(kind: str, client: Kept) -> None:
    ticks = count(0, 0.25)
    body, answer = dumped(CHAT), dumped(COMPLETION)

    serve(
        kind,
        Serving([answer]),
        client,
        body,
        timer=lambda: next(ticks),
        User_Agent="OpenAI/Python 3",
        X_Forwarded_For="198.51.100.7, 10.0.0.1",
        Authorization="Bearer sk-secret",
    )

    (event,) = client.events
    hashed = key_id("sk-secret", b"salty")
    assert event["request"] == {
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "model": "gpt-4o-mini",
        "stream": False,
        "size_bytes": len(body),
        "message_count": 2,
        "user_agent": "OpenAI/Python 3",
        "client_ip": "198.51.100.7",
    }
    assert event["response"] == {
        "status_code": 200,
        "size_bytes": len(answer),
        "success": True,
        "error_message": None,
    }
    # The clock is looked at when it begins, at the first byte and at the end.
    assert event["performance"]["duration_ms"] == 500
    assert event["auth"] == {
        "authenticated": True,
        "auth_method": "bearer",
        "api_key_id": hashed,
    }
    assert event["token_usage"] == USAGE
    assert CANARY not in json.dumps(event)
    assert "sk-secret" not in json.dumps(event)


def test_a_stream_is_told_by_its_request_and_timed_to_its_first_byte(
    kind: str, client: Kept
) -> None:
    ticks = count(0, 0.25)
    chunks = sse(
        {"choices": [{"delta": {"content": CANARY}}], "usage": None},
        {"choices": [], "usage": USAGE},
        "[DONE]",
    )

    serve(
        kind,
        Serving(chunks, headers=SSE),
        client,
        dumped({**CHAT, "stream": True}),
        timer=lambda: next(ticks),
    )

    (event,) = client.events
    assert event["request"]["stream"] is True
    assert event["performance"]["ttfb_ms"] == 250
    assert event["token_usage"] == USAGE


def test_usage_of_a_stream_whose_first_event_holds_the_input(kind: str, client: Kept) -> None:
    start = {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1}
    chunks = sse(
        {"type": "message_start", "message": {"usage": start}},
        {"type": "content_block_delta", "delta": {"text": CANARY}},
        {"type": "message_delta", "usage": {"output_tokens": 15}},
    )

    serve(kind, Serving(chunks, headers=SSE), client, path="/v1/messages")

    usage = client.events[0]["token_usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (125, 15)
    assert usage["cached_tokens"] == 100


def test_usage_of_a_stream_that_ends_with_the_whole_response(kind: str, client: Kept) -> None:
    usage = {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123}
    output = [{"content": CANARY * 30_000}]
    chunks = sse(
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.completed", "response": {"output": output, "usage": usage}},
    )

    serve(kind, Serving(chunks, headers=SSE), client, path="/v1/responses")

    assert client.events[0]["token_usage"]["total_tokens"] == 123


def test_a_very_large_request_keeps_its_model_and_little_memory(kind: str, client: Kept) -> None:
    content = [{"type": "image_url", "image_url": {"url": "A" * 3_000_000}}]
    body = dumped({"messages": [{"content": content}], "model": "gpt-4o", "stream": True})

    serve(kind, Serving(), client, body)

    request = client.events[0]["request"]
    assert (request["model"], request["stream"]) == ("gpt-4o", True)
    assert request["size_bytes"] == len(body)
    held = capture.Capture()
    for start in range(0, len(body), 65_536):
        held.add(body[start : start + 65_536])
        assert len(held.ends()) < 2 * capture.WHOLE_BYTES


def test_handlers_add_what_only_they_know(kind: str, client: Kept) -> None:
    def work() -> None:
        annotate(backend="anthropic", upstream_mode="messages", upstream_duration_ms=7.5)
        annotate(mcp_servers=["search", "files"], system_prompt_applied=True)
        annotate(usage={"inputTokens": 3, "outputTokens": 4}, api_key_label="team-a")
        annotate(model="claude-sonnet-4-5")

    serve(kind, Serving(work=work), client)

    (event,) = client.events
    assert event["routing"] == {
        "backend": "anthropic",
        "upstream_mode": "messages",
        "mcp_enabled": True,
        "mcp_servers": ["search", "files"],
        "system_prompt_applied": True,
    }
    assert event["performance"]["upstream_duration_ms"] == 7.5
    assert event["request"]["model"] == "claude-sonnet-4-5"
    assert event["auth"]["api_key_label"] == "team-a"
    assert event["token_usage"]["total_tokens"] == 7


def test_notes_of_one_request_are_not_another_ones(kind: str, client: Kept) -> None:
    serve(kind, Serving(work=lambda: annotate(backend="openai")), client)
    annotate(backend="nobody")
    serve(kind, Serving(), client)

    assert [event["routing"]["backend"] for event in client.events] == ["openai", None]


def test_an_error_is_named_by_its_code_and_never_by_its_text(kind: str, client: Kept) -> None:
    error = {"error": {"message": CANARY, "type": "invalid_request_error", "code": None}}

    serve(kind, Serving([dumped(error)], status=400), client, Authorization="Bearer sk-x")

    response = client.events[0]["response"]
    assert (response["success"], response["error_message"]) == (False, "invalid_request_error")
    assert client.events[0]["auth"]["authenticated"] is True


def test_a_refused_key_is_not_authenticated(kind: str, client: Kept) -> None:
    serve(kind, Serving(status=401), client, X_Api_Key="sk-x")

    auth = client.events[0]["auth"]
    assert (auth["authenticated"], auth["auth_method"]) == (False, "api_key")


def test_an_application_that_raises_is_a_500_and_its_error_goes_on(kind: str, client: Kept) -> None:
    def work() -> None:
        raise LookupError(CANARY)

    with pytest.raises(LookupError):
        serve(kind, Serving(work=work), client)

    response = client.events[0]["response"]
    assert (response["status_code"], response["error_message"]) == (500, "LookupError")
    assert CANARY not in json.dumps(client.events)


def test_a_stream_that_is_broken_off_is_no_success(kind: str, client: Kept) -> None:
    def chunks() -> Any:
        yield b"data: {}\n\n"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        serve(kind, Serving(chunks(), headers=SSE), client)

    response = client.events[0]["response"]
    assert (response["status_code"], response["success"]) == (200, False)
    assert response["error_message"] == "ConnectionError"


def test_a_request_that_is_cancelled_before_it_is_answered_has_no_response(client: Kept) -> None:
    async def app(*_: Any) -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        middleware = asgi.AnalyticsMiddleware(app, client)
        scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": []}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(middleware(scope, app, app), 0.01)  # type: ignore[arg-type]

    asyncio.run(cancel())
    assert "response" not in client.events[0]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b'{"model": 5, "messages": {}}'])
def test_any_body_is_recorded_and_passed_on(kind: str, client: Kept, body: bytes) -> None:
    status, _, data = serve(kind, Serving([body], headers=SSE), client, body)

    assert (status, data) == (200, body)
    request = client.events[0]["request"]
    assert (request["model"], request["message_count"]) == (None, None)
    assert request["size_bytes"] == len(body)


def test_a_compressed_response_is_passed_on_and_its_usage_left_out(kind: str, client: Kept) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    noise = b"\x1f\x8b" + b'"usage": {"prompt_tokens": 1}'

    assert serve(kind, Serving([noise], headers=headers), client)[2] == noise
    assert client.events[0]["token_usage"] is None


def test_everything_is_the_same_without_the_middleware(kind: str, client: Kept) -> None:
    headers = {**SSE, "x-request-id": "a", "set-cookie": "b=c"}
    serving = Serving(sse(CHAT, COMPLETION, "[DONE]"), status=203, headers=headers)

    with_it, without = (
        serve(kind, serving, client, dumped(CHAT), middleware=middleware)
        for middleware in (True, False)
    )

    assert with_it == without
    assert len(client.events) == 1


def test_what_waits_is_sent_before_the_server_is_told_that_the_application_has_stopped() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.shutdown.complete"})

    with FakeIngest() as ingest, AnalyticsClient(ingest.url, batch_seconds=60) as client:
        client.record({"request": {"endpoint": "/v1/models"}})
        sent_by_then = []

        async def send(message: Any) -> None:
            sent_by_then.append(client.counts.sent)

        middleware = asgi.AnalyticsMiddleware(app, client)
        asyncio.run(middleware({"type": "lifespan"}, app, send))  # type: ignore[arg-type]

    assert sent_by_then == [1]


def test_other_paths_are_not_recorded(kind: str, client: Kept) -> None:
    assert serve(kind, Serving(), client, path="/healthz")[0] == 200
    assert client.events == []


def test_a_record_that_fails_does_not_fail_the_request(
    kind: str, client: Kept, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "record", lambda event: 1 / 0)

    assert serve(kind, Serving(), client)[0] == 200
    assert "could not be recorded" in caplog.text


def test_a_list_keeps_its_length_for_the_server(client: Kept) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"one"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/models", "wsgi.input": None}
    parts: Any = wsgi.AnalyticsMiddleware(app, client)(environ, lambda *_: lambda data: None)
    assert (len(parts), list(parts)) == (1, [b"one"])
    parts.close()
    assert client.events[0]["response"]["success"] is True


def test_no_part_waits_for_the_next(kind: str, client: Kept) -> None:
    passed: list[str] = []

    def chunks() -> Any:
        for number in range(3):
            passed.append(f"made {number}")
            yield b"data: %d\n\n" % number

    serve(kind, Serving(chunks(), headers=SSE), client, passed=passed.append)

    assert passed == ["made 0", "got 0", "made 1", "got 1", "made 2", "got 2"]


def test_a_handler_in_another_thread_can_annotate(client: Kept) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(annotate, backend="openai")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def nothing(*_: Any) -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": []}
    asyncio.run(asgi.AnalyticsMiddleware(app, client)(scope, nothing, nothing))

    assert client.events[0]["routing"]["backend"] == "openai"
