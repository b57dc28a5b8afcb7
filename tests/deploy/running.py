"""`python -m deploy.run` in a folder of its own, and what it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.harness import PREFIX, ROOT, Service, event, free_port, wait_until

STOP_SECONDS = 10.0
VENV_BIN = str(Path(sys.executable).parent)


class Run:
    """All services as one command starts them; a context manager that ends them.

    The folder holds the Procfile and `deploy/`, as a checkout does, and everything that is written.
    """

    def __init__(self, folder: Path, *arguments: str, module: str = "deploy.run", **env: str):
        _lay_out(folder)
        self.folder = folder
        ports = {"INGEST_BIND": free_port(), "QUERY_BIND": free_port()}
        binds = {PREFIX + name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self.env = {**binds, **env}
        self.ingest = f"http://{self.env[PREFIX + 'INGEST_BIND']}"
        self.query = f"http://{self.env[PREFIX + 'QUERY_BIND']}"
        path = os.pathsep.join([VENV_BIN, os.environ.get("PATH", os.defpath)])
        command = [sys.executable, "-m", module, *arguments]
        self.service = Service("run", command, {**self.env, "PATH": path}, folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in processes_in(self.folder):
            os.kill(pid, signal.SIGKILL)
        self.service.process.wait()

    def stop(self, signum: int = signal.SIGINT) -> int:
        """What Ctrl-C at a terminal, or an init system, does; returns the exit status."""
        self.service.process.send_signal(signum)
        return self.service.process.wait(STOP_SECONDS)

    def wait_ready(self) -> None:
        for url in (self.ingest, self.query):
            wait_until(lambda url=url: answers(url), within=30, what=f"{url} in {self.folder}")  # type: ignore[misc]

    def post(self, *numbers: int) -> None:
        answer = httpx.post(f"{self.ingest}/analytics/events", json=[event(n) for n in numbers])
        assert answer.status_code == 202, answer.text

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(f"{self.query}/analytics/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for_total(self, count: int) -> None:
        wait_until(lambda: self.get("stats")["total_events"] == count, what=f"{count} stored")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz/ready").status_code == 200
    except httpx.TransportError:
        return False


def processes_in(folder: Path) -> list[int]:
    """The processes that work in `folder`, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _works_in(entry, folder):
            found.append(int(entry.name))
    return sorted(found)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and Path(os.readlink(process / "cwd")).is_relative_to(folder.resolve())
    except (OSError, IndexError):
        return False


def _lay_out(folder: Path) -> None:
    shutil.copy(ROOT / "Procfile", folder)
    if not (folder / "deploy").exists():
        (folder / "deploy").symlink_to(ROOT / "deploy")


@contextmanager
def dotenv(folder: Path, **settings: str) -> Iterator[None]:
    """A `.env` in `folder` with these settings, by their names without the prefix."""
    lines = [f"{PREFIX}{name}={value}\n" for name, value in settings.items()]
    (folder / ".env").write_text("".join(lines))
    yield
    (folder / ".env").unlink()


def broker_settings(url: str) -> Mapping[str, str]:
    return {PREFIX + "BROKER_URL": url}
