"""An OpenAI-compatible application in four frameworks, with the middleware or without.

A server loads `application`: `APP` names the framework, `INGEST` the URL of ingest (empty: no
middleware), `BUFFER` the events that the client may hold. `GET /counts` tells the client's books.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import falcon
from fastapi import FastAPI
from flask import Flask
from flask import Response as FlaskResponse
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from routiium_client import AnalyticsClient, annotate, asgi, wsgi

ASGI = ("starlette", "fastapi")
WSGI = ("flask", "falcon")
CHAT = "/v1/chat/completions"
SSE = "text/event-stream"
WORDS = ("Metadata", " and", " never", " a", " word", " –", " naïve", " 漢字")
USAGE = {
    "prompt_tokens": 17,
    "completion_tokens": len(WORDS),
    "total_tokens": 17 + len(WORDS),
    "prompt_tokens_details": {"cached_tokens": 16},
}


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    """What a chat completion answers."""
    message = {"role": "assistant", "content": "".join(WORDS)}
    return {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def events(asked: dict[str, Any]) -> Iterator[bytes]:
    """The same as a stream; usage comes in a last chunk where it is asked for."""
    base = {
        "id": "chatcmpl-7",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": asked["model"],
    }
    for word in WORDS:
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        yield b"data: %s\n\n" % json.dumps({**base, "choices": [choice]}).encode()
    if asked.get("stream_options", {}).get("include_usage"):
        yield b"data: %s\n\n" % json.dumps({**base, "choices": [], "usage": USAGE}).encode()
    yield b"data: [DONE]\n\n"


async def streamed(asked: dict[str, Any]) -> AsyncIterator[bytes]:
    for event in events(asked):
        yield event


def note() -> None:
    annotate(backend="openai", upstream_mode="chat", mcp_servers=["search"])


def build_starlette(counts: Callable[[], Any]) -> Any:
    async def chat(request: Request) -> Any:
        asked = await request.json()
        note()
        if asked.get("stream"):
            return StreamingResponse(streamed(asked), media_type=SSE)
        return JSONResponse(completion(asked))

    async def tell(request: Request) -> Any:
        return JSONResponse(counts())

    return Starlette(routes=[Route(CHAT, chat, methods=["POST"]), Route("/counts", tell)])


def build_fastapi(counts: Callable[[], Any]) -> Any:
    async def chat(asked: dict[str, Any]) -> Any:
        note()
        if asked.get("stream"):
            return StreamingResponse(streamed(asked), media_type=SSE)
        return completion(asked)

    app: Any = FastAPI()
    app.post(CHAT)(chat)
    app.get("/counts")(counts)
    return app


def build_flask(counts: Callable[[], Any]) -> Any:
    def chat() -> Any:
        asked = flask_request.get_json()
        note()
        if asked.get("stream"):
            return FlaskResponse(events(asked), mimetype=SSE)
        return completion(asked)

    app: Any = Flask("tests")
    app.post(CHAT)(chat)
    app.get("/counts")(counts)
    return app


class FalconChat:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        asked = request.get_media()
        note()
        if asked.get("stream"):
            response.content_type = SSE
            response.stream = events(asked)
        else:
            response.media = completion(asked)


class FalconCounts:
    def __init__(self, counts: Callable[[], Any]) -> None:
        self._counts = counts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = self._counts()


def build_falcon(counts: Callable[[], Any]) -> Any:
    app: Any = falcon.App()
    app.add_route(CHAT, FalconChat())
    app.add_route("/counts", FalconCounts(counts))
    return app


BUILD = {
    "starlette": build_starlette,
    "fastapi": build_fastapi,
    "flask": build_flask,
    "falcon": build_falcon,
}


def build(name: str, client: AnalyticsClient | None) -> Any:
    """The application, as its README would put the middleware on it."""
    app = BUILD[name](lambda: dataclasses.asdict(client.counts) if client else {})
    if client is None:
        return app
    if name in ASGI:
        app.add_middleware(asgi.AnalyticsMiddleware, client=client)
    elif name == "flask":
        app.wsgi_app = wsgi.AnalyticsMiddleware(app.wsgi_app, client)
    else:
        app = wsgi.AnalyticsMiddleware(app, client)
    return app


if "APP" in os.environ:
    _url = os.environ.get("INGEST")
    _buffer = int(os.environ.get("BUFFER", "10000"))
    application = build(
        os.environ["APP"], AnalyticsClient(_url, buffer_events=_buffer) if _url else None
    )
