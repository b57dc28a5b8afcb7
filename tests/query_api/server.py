"""The query service as a process of its own, and the store that it reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from shared.stores.jsonl import JsonlStore
from tests.harness import PREFIX, ROOT, START_SECONDS, Service, free_port, wait_until

NOBODY = "redis://127.0.0.1:1/0"
"""A broker that is not there."""


class QueryServer:
    """gunicorn with the query application on a JSONL file; a context manager that ends it.

    `store` is the same file, for a test to write to. `settings` are variables without prefix, `env`
    is others.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, /, **settings: str
    ) -> None:
        self.folder = folder
        self.path = folder / "store.jsonl"
        self.store = JsonlStore(self.path)
        bind = f"127.0.0.1:{free_port()}"
        self.http = httpx.Client(base_url=f"http://{bind}", timeout=30)
        defaults = {"JSONL_PATH": str(self.path), "QUERY_BIND": bind, "BROKER_URL": NOBODY}
        named = {PREFIX + name: value for name, value in {**defaults, **settings}.items()}
        config = str(ROOT / "deploy/gunicorn_query.py")
        command = [sys.executable, "-m", "gunicorn", "-c", config, "query_api.wsgi:app"]
        self.service = Service("query", command, {**named, **(env or {})}, folder)

    def __enter__(self) -> Self:
        wait_until(self._answers, within=START_SECONDS, what=f"query_api; log in {self.folder}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()
        self.store.close()
        self.service.terminate()

    def _answers(self) -> bool:
        assert self.service.running, self.service.output()
        try:
            return self.http.get("/healthz/live").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, path: str, **params: Any) -> httpx.Response:
        """`GET /analytics/<path>`."""
        return self.http.get(f"/analytics/{path}", params=params)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of `ask`; anything but 200 fails."""
        answer = self.ask(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, path: str, query: str) -> tuple[int, str]:
        """Status and `param` of the error that a raw query string gets."""
        answer = self.http.get(f"/analytics/{path}?{query}")
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert body.keys() == {"error"}
        assert body["error"]["type"] == "invalid_parameter"
        assert body["error"]["param"] in body["error"]["message"]
        return answer.status_code, body["error"]["param"]
