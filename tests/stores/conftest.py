"""Database servers, each started at most once in a test run and only where a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.servers import DatabaseServer, mysql_server, postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[DatabaseServer]:
    with mysql_server() as server:
        yield server
