"""`make run`: all services from one command, with a broker of their own where there is none.

The services are the Procfile's, run by honcho; a store that lives in one process gets all of them
in one. On SIGINT or SIGTERM the services end first, then the broker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from deploy.broker import BrokerError, EmbeddedBroker, answers
from shared.errors import SettingsError
from shared.settings import PREFIX, Settings, load_settings

BROKER_FOLDER = Path("data/broker")
BROKER_PORT = 6379
STOP_SECONDS = 9.0


def command_for(settings: Settings, arguments: list[str]) -> list[str]:
    """What runs the services: honcho with `arguments` (such as worker=3), or one gunicorn."""
    if settings.one_process:
        gunicorn = [sys.executable, "-m", "gunicorn"]
        return [*gunicorn, "-c", "deploy/gunicorn_one_process.py", "deploy.one_process:app"]
    return [sys.executable, "-m", "honcho", "start", *arguments]


def environment(broker_url: str) -> Mapping[str, str]:
    """This process's environment, with the broker named and our interpreter's tools first."""
    tools = str(Path(sys.executable).parent)
    path = os.pathsep.join([tools, os.environ.get("PATH", os.defpath)])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        f"{PREFIX}BROKER_URL": broker_url,
    }


def run_until_signalled(command: list[str], env: Mapping[str, str]) -> int:
    """Run `command` until it ends or we are told to stop; returns its exit status, 0 if told."""
    process = subprocess.Popen(command, env=env, start_new_session=True)
    told: list[int] = []

    def stop(signum: int, frame: object) -> None:
        told.append(signum)
        process.terminate()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    while True:
        try:
            status = process.wait(STOP_SECONDS if told else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        return 0 if told else status


def main(arguments: list[str]) -> int:
    try:
        settings = load_settings()
        with ExitStack() as stack:
            url = settings.broker_url
            if "broker_url" not in settings.model_fields_set and not answers(url):
                broker = EmbeddedBroker(BROKER_FOLDER, BROKER_PORT)
                broker.start()
                stack.callback(broker.stop)
                print(f"broker: our own at {url}, its data in {BROKER_FOLDER}/", flush=True)
            print(f"ingest: http://{settings.ingest_bind}", flush=True)
            print(f"query:  http://{settings.query_bind}", flush=True)
            return run_until_signalled(command_for(settings, arguments), environment(url))
    except (SettingsError, BrokerError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
