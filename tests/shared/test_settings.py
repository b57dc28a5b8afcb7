"""Settings: read once, from the environment and `.env`; every problem at once, before anything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import PREFIX, Settings, load_settings
from shared.stores import open_shared_store, open_store
from shared.stores.jsonl import JsonlStore
from shared.stores.memory import MemoryStore
from tests.harness import ROOT, clean_environment
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event

STORES = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "CLICKHOUSE_URL": "clickhouse://127.0.0.1:1/default",
    "DATABASE_URL": "sqlite:///events.db",
    "SLED_PATH": "events.sled",
    "JSONL_PATH": "events.jsonl",
    "FORCE_MEMORY": "1",
}
"""A value of each store's variable, in the order of precedence."""


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("ROUTIIUM_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _load(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(PREFIX + name, value)
    return load_settings()


def _problems(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    """The variables, without prefix, that are told to be wrong."""
    with pytest.raises(SettingsError) as caught:
        _load(monkeypatch, values)
    lines = caught.value.problems
    assert all(line.startswith(PREFIX) and ": " in line for line in lines)
    return sorted(line.removeprefix(PREFIX).partition(":")[0] for line in lines)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()

    assert settings.backends() == ["jsonl"]
    assert settings.broker_url == "redis://127.0.0.1:6379/0"
    assert (settings.ingest_bind, settings.query_bind) == ("127.0.0.1:8087", "127.0.0.1:8088")
    assert settings.ttl_seconds is None
    assert settings.max_events == 10_000
    assert not settings.ingest_tokens | settings.query_tokens | settings.admin_tokens
    assert not settings.cors_origins
    assert not settings.anonymize_ip
    assert (settings.max_body_bytes, settings.max_batch_events) == (32 * 1024 * 1024, 10_000)


def test_every_problem_is_told_at_once_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _problems(
        monkeypatch,
        TTL_SECONDS="soon",
        MAX_EVENTS="0",
        BROKER_URL="http://127.0.0.1",
        ALLOW_ANONYMOUS="perhaps",
        INGEST_BIND="0.0.0.0:8087",
        QUERY_BIND="[::]:8088",
        LOG_LEVEL="loud",
        MAX_BODY_BYTES="-1",
    )

    assert found == [
        "ALLOW_ANONYMOUS",
        "BROKER_URL",
        "INGEST_BIND",
        "LOG_LEVEL",
        "MAX_BODY_BYTES",
        "MAX_EVENTS",
        "QUERY_BIND",
        "TTL_SECONDS",
    ]


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "1h", "none"])
def test_a_ttl_is_whole_seconds(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert _problems(monkeypatch, TTL_SECONDS=value) == ["TTL_SECONDS"]


@pytest.mark.parametrize("value", ["8087", "127.0.0.1", ":8087", "127.0.0.1:http", "a:70000"])
def test_an_address_is_host_and_port(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert _problems(monkeypatch, INGEST_BIND=value) == ["INGEST_BIND"]


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1", "::1:1"]
)
def test_loopback_needs_no_token(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert _load(monkeypatch, {"QUERY_BIND": address}).query_bind == address


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:1", "[::]:1", "10.0.0.5:1", "192.168.1.4:1", "api.example:1", "127.0.0.1.example:1"],
)
@pytest.mark.parametrize("variable", ["INGEST_BIND", "QUERY_BIND"])
def test_another_address_needs_a_token_or_leave(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str
) -> None:
    assert _problems(monkeypatch, **{variable: address}) == [variable]

    for name, value in (
        ("INGEST_TOKENS", "t"),
        ("QUERY_TOKENS", "t"),
        ("ADMIN_TOKENS", "t"),
        ("ALLOW_ANONYMOUS", "true"),
    ):
        with monkeypatch.context() as patch:
            assert _load(patch, {variable: address, name: value})


def test_tokens_of_commas_alone_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _problems(monkeypatch, QUERY_BIND="0.0.0.0:1", QUERY_TOKENS=" , ,") == ["QUERY_BIND"]


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, {"QUERY_TOKENS": " a,b ,,c", "CORS_ORIGINS": "https://a.example"})

    assert settings.query_tokens == {"a", "b", "c"}
    assert settings.cors_origins == {"https://a.example"}


@pytest.mark.parametrize("value", ["1", "true", "yes", "TRUE", "Yes"])
def test_memory_is_forced(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    settings = _load(monkeypatch, {"FORCE_MEMORY": value, "MAX_EVENTS": "7"})
    store = open_store(settings)

    assert settings.one_process
    assert isinstance(store, MemoryStore)
    assert store.stats().max_events == 7


@pytest.mark.parametrize("value", ["0", "false", "no", ""])
def test_memory_is_not_forced(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert not _load(monkeypatch, {"FORCE_MEMORY": value}).one_process


@pytest.mark.parametrize("first", range(len(STORES)))
def test_the_first_store_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    order = ["redis", "clickhouse", "database", "sled", "jsonl", "memory"]
    settings = _load(monkeypatch, dict(list(STORES.items())[first:]))

    assert settings.backends() == order[first:]


def test_the_stores_that_are_not_used_are_named_in_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = _load(monkeypatch, {"JSONL_PATH": "a.jsonl", "FORCE_MEMORY": "1"})
    store = open_store(settings)

    assert isinstance(store, JsonlStore)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.__dict__["used"] == "ROUTIIUM_ANALYTICS_JSONL_PATH"
    assert record.__dict__["ignored"] == ["ROUTIIUM_ANALYTICS_FORCE_MEMORY"]


def test_one_store_is_no_reason_to_warn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(_load(monkeypatch, {"JSONL_PATH": "a.jsonl"}))
    assert caplog.records == []


def test_without_a_store_events_go_to_a_file_under_data(tmp_path: Path) -> None:
    store = open_shared_store(load_settings())
    store.append([make_event("a")])
    store.close()

    assert (tmp_path / "data" / "analytics.jsonl").read_text().count("\n") == 1


def test_the_ttl_reaches_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_store(_load(monkeypatch, {"TTL_SECONDS": "60"})).ttl_seconds == 60


def test_memory_alone_is_refused_for_a_service_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"FORCE_MEMORY: .*make run"):
        open_shared_store(_load(monkeypatch, {"FORCE_MEMORY": "1"}))


def test_dotenv_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "# a comment\n"
        f'{PREFIX}TTL_SECONDS="600"\n'
        f"{PREFIX}MAX_EVENTS=5\n"
        f"export {PREFIX}LOG_LEVEL=debug\n"
        "OTHER=1\n"
    )
    settings = _load(monkeypatch, {"MAX_EVENTS": "6"})

    assert (settings.ttl_seconds, settings.max_events, settings.log_level) == (600, 6, "debug")


def test_a_problem_in_dotenv_is_told_by_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}TTL_SECONDS=never\n")
    assert _problems(monkeypatch, MAX_EVENTS="none") == ["MAX_EVENTS", "TTL_SECONDS"]


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, dict.fromkeys([*STORES, "TTL_SECONDS", "QUERY_BIND"], ""))

    assert settings.backends() == ["jsonl"]
    assert settings.query_bind == "127.0.0.1:8088"


def test_a_service_reads_the_dotenv_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}TTL_SECONDS=1234\n")
    with QueryServer(tmp_path) as query:
        assert query.get("stats")["ttl_seconds"] == 1_234


COMMANDS = {
    "ingest": ["-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn_ingest.py"), "ingest.asgi:app"],
    "query_api": [
        "-m",
        "gunicorn",
        "-c",
        str(ROOT / "deploy/gunicorn_query.py"),
        "query_api.wsgi:app",
    ],
    "worker": ["-m", "worker.main"],
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that somebody else has: whoever binds it fails, whoever connects is seen."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        yield server


def _run(service: str, folder: Path, **values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *COMMANDS[service]],
        cwd=folder,
        env=clean_environment({PREFIX + name: value for name, value in values.items()}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("service", COMMANDS)
def test_a_service_with_wrong_settings_ends_before_it_binds_or_connects(
    service: str, tmp_path: Path, listener: socket.socket
) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    done = _run(
        service,
        tmp_path,
        INGEST_BIND=address,
        QUERY_BIND=address,
        BROKER_URL=f"redis://{address}/0",
        TTL_SECONDS="soon",
        MAX_EVENTS="0",
    )

    output = done.stdout + done.stderr
    assert done.returncode != 0
    for name in ("TTL_SECONDS", "MAX_EVENTS"):
        assert output.count(f"{PREFIX}{name}: ") == 1
    assert "Traceback" not in output
    assert "in use" not in output
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("service", COMMANDS)
def test_a_service_alone_on_memory_ends_and_says_what_to_do(
    service: str, tmp_path: Path, listener: socket.socket
) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    done = _run(
        service,
        tmp_path,
        FORCE_MEMORY="1",
        INGEST_BIND=address,
        QUERY_BIND=address,
        BROKER_URL=f"redis://{address}/0",
    )

    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "ROUTIIUM_ANALYTICS_FORCE_MEMORY" in output
    assert "make run" in output
    assert "Traceback" not in output
    with pytest.raises(BlockingIOError):
        listener.accept()
