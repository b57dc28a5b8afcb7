"""Database servers, each started at most once in a test run and only where a test asks for it; and
JSONL stores on one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_builder import IndexPolicy
from tests.stores.indexed import SMALL
from tests.stores.servers import DatabaseServer, mysql_server, postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[DatabaseServer]:
    with mysql_server() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a JSONL file will be."""
    return tmp_path / "analytics.jsonl"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., JsonlStore]]:
    """Opens stores on the one file, and closes them at the end."""
    stores: list[JsonlStore] = []

    def open_one(policy: IndexPolicy = SMALL) -> JsonlStore:
        stores.append(JsonlStore(path, index=policy))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
