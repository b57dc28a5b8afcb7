"""Model calls traced by real OpenTelemetry packages. Runs in a venv of their own.

`otel_calls.py <endpoint> <producer> <canary>` traces calls and exports them; it prints, as JSON,
what each call was. Producers are spans made by hand, and two instrumentations of the `openai`
client, which here talks to an upstream in the same process.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import opentelemetry.trace as trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

CANARY = sys.argv[3]
PROMPT, COMPLETION, CACHED = 120, 45, 100
USAGE = {
    "prompt_tokens": PROMPT,
    "completion_tokens": COMPLETION,
    "total_tokens": PROMPT + COMPLETION,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-compatible server: takes 50 ms, streams when asked, refuses the model `refused`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.05)
        answer = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
        message = {"role": "assistant", "content": f"{CANARY} answers"}
        choice = {"index": 0, "finish_reason": "stop"}
        if asked["model"] == "refused":
            self._send(429, "application/json", json.dumps({"error": {"message": CANARY}}))
        elif asked.get("stream"):
            chunk = {**answer, "object": "chat.completion.chunk"}
            chunks = [
                {**chunk, "choices": [{**choice, "delta": message}]},
                {**chunk, "choices": [], "usage": USAGE},
            ]
            lines = [f"data: {json.dumps(part)}\n\n" for part in chunks]
            self._send(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))
        else:
            whole = {**answer, "object": "chat.completion", "usage": USAGE}
            whole["choices"] = [{**choice, "message": message}]
            self._send(200, "application/json", json.dumps(whole))

    def _send(self, status: int, content_type: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


def by_hand() -> list[dict[str, Any]]:
    """An agent whose calls carry current and old names; a plain span between them."""
    usage = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    old_usage = ("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens")
    tracer = trace.get_tracer("by hand")
    with tracer.start_as_current_span("invoke_agent planner") as agent:
        agent.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "a"})
        agent.set_attributes(dict.fromkeys(usage, 1_000))
        for names, provider in ((usage, "gen_ai.provider.name"), (old_usage, "gen_ai.system")):
            with tracer.start_as_current_span("POST /v1/chat/completions"):
                span = tracer.start_span("chat gpt-4o", start_time=1_700_000_000_000_000_000)
                span.set_attributes(
                    {
                        "gen_ai.operation.name": "chat",
                        provider: "openai",
                        "gen_ai.request.model": "gpt-4o",
                        "gen_ai.input.messages": CANARY,
                        "gen_ai.prompt": CANARY,
                        **dict(zip(names, (PROMPT, COMPLETION), strict=True)),
                    }
                )
                span.end(end_time=1_700_000_000_750_000_000)
    return [call("gpt-4o", seconds=0.75), call("gpt-4o", seconds=0.75)]


def call(model: str, *, seconds: float, status: int = 200, stream: bool = False) -> dict[str, Any]:
    """What a call was, as whoever made it knows."""
    return {"model": model, "seconds": seconds, "status": status, "stream": stream}


def with_openai() -> list[dict[str, Any]]:
    """Calls by the `openai` client, as whatever instruments it sees them."""
    import openai

    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    client = openai.OpenAI(api_key=f"sk-{CANARY}", base_url=url, max_retries=0)
    calls = []
    for model, stream in (("gpt-4o", False), ("gpt-4o-mini", False), ("gpt-4o", True)):
        began = time.perf_counter()
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        answer: Any = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"{CANARY} asks"}],
            **(options if stream else {}),
        )
        if stream:
            list(answer)
        calls.append(call(model, seconds=time.perf_counter() - began, stream=stream))
    began = time.perf_counter()
    try:
        client.chat.completions.create(
            model="refused", messages=[{"role": "user", "content": CANARY}]
        )
    except openai.RateLimitError:
        calls.append(call("refused", seconds=time.perf_counter() - began, status=429))
    return calls


def main(endpoint: str, producer: str) -> None:
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=endpoint, compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if producer == "openai-v2":
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif producer == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

        OpenInference().instrument()
    calls = by_hand() if producer == "by hand" else with_openai()
    assert provider.force_flush()
    provider.shutdown()
    print(json.dumps(calls))


if __name__ == "__main__":
    main(*sys.argv[1:3])
