"""A real broker for each module, and a rig on it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.broker import EmbeddedBroker
from tests.harness import free_port
from tests.worker.rig import Rig


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path_factory.mktemp("broker"), free_port())
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def rig(broker: EmbeddedBroker, folder: Path, anyio_backend: str) -> AsyncIterator[Rig]:
    async with Rig(broker.url, folder) as rig:
        yield rig
