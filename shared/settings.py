"""Every setting, read once at start from the environment and `.env`.

`load_settings` reports all problems at once, each by the name of its variable. The README's table
of settings is held against `Settings` by a test.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import SettingsError

PREFIX = "ROUTIIUM_ANALYTICS_"
DEFAULT_BROKER_URL = "redis://127.0.0.1:6379/0"
DEFAULT_JSONL_PATH = Path("data/analytics.jsonl")

Backend = Literal["redis", "clickhouse", "database", "sled", "jsonl", "memory"]
Tokens = Annotated[frozenset[str], NoDecode]


def split_address(address: str) -> tuple[str, int]:
    """`host:port`, or `[v6]:port`, as a pair; ValueError where it is neither."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:8087")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether a `host:port` can be reached from this machine alone."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """All settings of the three services; `variable_of` gives the variable of each field."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        loc_by_alias=False,
    )

    redis_url: str | None = Field(None, description="Store: Redis")
    clickhouse_url: str | None = Field(
        None, description="Store: ClickHouse, as clickhouse://… or, in this process, chdb:///folder"
    )
    clickhouse_cluster: str | None = Field(
        None, description="ClickHouse's cluster: replicated tables, and one that spans the shards"
    )
    database_url: str | None = Field(
        None, description="Store: PostgreSQL, MySQL/MariaDB or SQLite, as a SQLAlchemy URL"
    )
    sled_path: Path | None = Field(None, description="Store: a SQLite file at this path")
    jsonl_path: Path | None = Field(None, description="Store: a JSONL file at this path")
    force_memory: bool = Field(
        False, description="Store: memory; development only, lost on restart"
    )
    max_events: int = Field(
        10_000, ge=1, description="Events the memory store holds; the oldest goes first"
    )
    ttl_seconds: int | None = Field(
        None, ge=1, description="Age at which an event ends, everywhere; unset: never"
    )
    broker_url: str = Field(
        DEFAULT_BROKER_URL, description="The Redis that carries the stream; not the store"
    )
    ingest_bind: str = Field("127.0.0.1:8087", description="Address of ingest")
    query_bind: str = Field("127.0.0.1:8088", description="Address of query_api")
    ingest_tokens: Tokens = Field(
        frozenset(), description="Bearer tokens that may post events, comma-separated"
    )
    query_tokens: Tokens = Field(
        frozenset(), description="Bearer tokens that may query, comma-separated"
    )
    admin_tokens: Tokens = Field(
        frozenset(), description="Bearer tokens that may clear, replay and query, comma-separated"
    )
    allow_anonymous: bool = Field(
        False, description="Allow another address than loopback without any token"
    )
    key_salt: str = Field("", description="Secret that API keys are hashed with (HMAC-SHA256)")
    anonymize_ip: bool = Field(False, description="Keep /24 of an IPv4, /48 of an IPv6 address")
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1_024, description="Largest request body, after decompression"
    )
    litellm_max_body_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1_024,
        description="Largest body of `POST /sources/litellm`, whose events carry their messages",
    )
    max_batch_events: int = Field(10_000, ge=1, description="Most events in one request")
    max_backlog_events: int = Field(
        1_000_000, ge=1, description="Events the queue holds before ingest answers 429"
    )
    max_backlog_bytes: int = Field(
        1024 * 1024 * 1024, ge=1_024, description="Bytes the queue holds before ingest answers 429"
    )
    pricing_config: Path | None = Field(
        None,
        validation_alias="ROUTIIUM_PRICING_CONFIG",
        description="Price file, ours or LiteLLM's; unset: the dated table that comes with this",
    )
    max_dead_letters: int = Field(
        10_000, ge=1, description="Dead letters kept; past it the oldest goes, and is counted"
    )
    metrics_max_combinations: int = Field(
        200, ge=1, description="Sets of model, endpoint and backend that metrics name, then `other`"
    )
    cors_origins: Tokens = Field(
        frozenset(), description="Origins that browsers may query from, comma-separated"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written"
    )

    @field_validator("ingest_tokens", "query_tokens", "admin_tokens", "cors_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("broker_url", "redis_url")
    @classmethod
    def _is_redis_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("ingest_bind", "query_bind")
    @classmethod
    def _is_address(cls, value: str) -> str:
        split_address(value)
        return value

    def exposed(self) -> list[str]:
        """A line for each address that anyone could reach and nobody needs a token for."""
        if self.allow_anonymous or self.ingest_tokens or self.query_tokens or self.admin_tokens:
            return []
        return [
            f"{PREFIX}{name.upper()}: {address} is not loopback and no token is set; set tokens, "
            f"or {PREFIX}ALLOW_ANONYMOUS=true to answer anyone"
            for name, address in (
                ("ingest_bind", self.ingest_bind),
                ("query_bind", self.query_bind),
            )
            if not is_loopback(address)
        ]

    def backends(self) -> list[Backend]:
        """The stores that are configured, the one that is used first; JSONL where none is."""
        configured: list[tuple[Backend, object]] = [
            ("redis", self.redis_url),
            ("clickhouse", self.clickhouse_url),
            ("database", self.database_url),
            ("sled", self.sled_path),
            ("jsonl", self.jsonl_path),
            ("memory", self.force_memory),
        ]
        return [name for name, value in configured if value] or ["jsonl"]

    @property
    def one_process(self) -> bool:
        """Whether the store lives in one process, so that all services must share it."""
        used = self.backends()[0]
        embedded = (self.clickhouse_url or "").startswith("chdb:")
        return used == "memory" or (used == "clickhouse" and embedded)


def variable_of(name: str) -> str:
    """The environment variable of a field of `Settings`."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"


def load_settings(env_file: Path | str | None = ".env", **overrides: Any) -> Settings:
    """Read the environment and `env_file`; `overrides` (by field name) win over both.

    Raises SettingsError with every problem, each naming its variable.
    """
    problems: list[str] = []
    try:
        settings = _read(env_file, overrides)
    except ValidationError as error:
        problems = [_problem(detail) for detail in error.errors()]
        # What is right is looked at all the same, with the defaults for what is wrong.
        wrong = {str(detail["loc"][0]) for detail in error.errors()}
        defaults = {name: Settings.model_fields[name].default for name in wrong}
        settings = _read(env_file, {**overrides, **defaults})
    if problems := problems + settings.exposed():
        raise SettingsError(problems)
    return settings


def _read(env_file: Path | str | None, overrides: dict[str, Any]) -> Settings:
    return Settings(_env_file=env_file, **overrides)  # type: ignore[call-arg]


def _problem(detail: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    return f"{variable_of(str(detail['loc'][0]))}: {message}"
