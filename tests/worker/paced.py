"""A worker at another pace, whose append may hang: `python -m tests.worker.paced PACE [hang]`.

PACE is a JSON object of fields of `worker.pace.Pace`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Sequence

from shared.events import Event
from shared.logs import configure_logging
from shared.settings import load_settings
from shared.stores.jsonl import JsonlStore
from worker.pace import Pace
from worker.price_file import load_prices
from worker.service import serve


class HangingStore(JsonlStore):
    """A store whose append never returns."""

    def append(self, events: Sequence[Event]) -> int:
        print("appending", flush=True)
        threading.Event().wait()
        raise AssertionError


def main(pace: str, *options: str) -> None:
    settings = load_settings()
    configure_logging(settings.log_level)
    assert settings.jsonl_path is not None
    store = (HangingStore if "hang" in options else JsonlStore)(settings.jsonl_path)
    prices = load_prices(settings.pricing_config)
    asyncio.run(serve(settings, store, prices, asyncio.Event(), pace=Pace(**json.loads(pace))))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
