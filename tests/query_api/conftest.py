"""One query service for the tests of this room, its store emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.query_api.server import QueryServer


@pytest.fixture(scope="session")
def query_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    with QueryServer(tmp_path_factory.mktemp("query")) as running:
        yield running


@pytest.fixture
def query(query_server: QueryServer) -> QueryServer:
    """The service on an empty store."""
    query_server.store.clear()
    return query_server
