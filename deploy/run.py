"""`make run`: all services from one command, with a broker of their own where there is none.

The services are the Procfile's, run by honcho; a store that lives in one process gets all of them
in one. On SIGINT or SIGTERM the services end first, then the broker.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from deploy.broker import BrokerError, EmbeddedBroker, answers
from deploy.processes import parse_counts, read_procfile, run_processes
from shared.errors import SettingsError
from shared.settings import PREFIX, Settings, load_settings
from worker.price_file import load_prices

BROKER_FOLDER = Path("data/broker")
BROKER_PORT = 6379
PROCFILE = Path("Procfile")
ONE_PROCESS = {"all": "gunicorn -c deploy/gunicorn_one_process.py deploy.one_process:app"}


def environment(broker_url: str) -> dict[str, str]:
    """This process's environment, with the broker named and our interpreter's tools first."""
    tools = str(Path(sys.executable).parent)
    path = os.pathsep.join([tools, os.environ.get("PATH", os.defpath)])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        f"{PREFIX}BROKER_URL": broker_url,
    }


def commands_for(settings: Settings) -> Mapping[str, str]:
    """What runs the services, by name."""
    return ONE_PROCESS if settings.one_process else read_procfile(PROCFILE)


def broker_for(settings: Settings, stack: ExitStack) -> str:
    """The broker's URL. Our own is started, and `stack` stops it, where none is there."""
    url = settings.broker_url
    if "broker_url" in settings.model_fields_set or answers(url):
        return url
    broker = EmbeddedBroker(BROKER_FOLDER, BROKER_PORT)
    stack.callback(broker.stop)
    broker.start()
    print(f"broker: our own at {url}, its data in {BROKER_FOLDER}/", flush=True)
    return url


def _stop_before_start(signum: int, frame: object) -> None:
    """Until the services' manager handles the signals, they end us in order."""
    sys.exit(0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.run", description="All services.")
    parser.add_argument(
        "-c", "--concurrency", metavar="worker=3", type=parse_counts, default={}, help="how many"
    )
    counts = parser.parse_args(arguments).concurrency
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop_before_start)
    try:
        settings = load_settings()
        load_prices(settings.pricing_config)
        with ExitStack() as stack:
            url = broker_for(settings, stack)
            print(f"ingest: http://{settings.ingest_bind}", flush=True)
            print(f"query:  http://{settings.query_bind}", flush=True)
            return run_processes(commands_for(settings), environment(url), counts)
    except (SettingsError, BrokerError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
