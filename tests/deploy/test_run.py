"""One command runs all services, by the settings alone, and one interrupt ends them."""

import os
import signal
from pathlib import Path

import pytest

from deploy.broker import EmbeddedBroker
from tests.deploy.running import Run, broker_settings, dotenv, processes_in
from tests.harness import PREFIX, free_port, wait_until


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_in_order_and_a_restart_keeps_the_data(
    project: Path, broker: EmbeddedBroker, signum: int
) -> None:
    with Run(project, **broker_settings(broker.url)) as run:
        run.wait_ready()
        run.post(1, 2, 3)
        run.wait_for_total(3)
        assert run.stop(signum) == 0
        assert "SIGKILL" not in run.service.output()
        assert "Traceback" not in run.service.output()
        assert processes_in(project) == []

    assert (project / "data/analytics.jsonl").exists()
    with Run(project, **broker_settings(broker.url)) as run:
        run.wait_ready()
        run.post(3, 4)
        run.wait_for_total(4)


def test_an_interrupt_at_a_terminal_reaches_every_process_and_still_ends_in_order(
    project: Path, broker: EmbeddedBroker
) -> None:
    with Run(project, **broker_settings(broker.url)) as run:
        run.wait_ready()
        os.killpg(run.service.process.pid, signal.SIGINT)
        assert run.service.process.wait(10) == 0
        assert processes_in(project) == []


def test_a_second_interrupt_changes_nothing(project: Path, broker: EmbeddedBroker) -> None:
    with Run(project, **broker_settings(broker.url)) as run:
        run.wait_ready()
        run.service.process.send_signal(signal.SIGINT)
        assert run.stop() == 0
        assert processes_in(project) == []


@pytest.mark.parametrize("moment", ["the first line", "the first process"])
def test_an_early_interrupt_leaves_nothing_behind(
    project: Path, broker: EmbeddedBroker, moment: str
) -> None:
    with Run(project, **broker_settings(broker.url)) as run:
        line = "query:" if moment == "the first line" else "started"
        wait_until(lambda: line in run.service.output(), what=moment)
        assert run.stop() == 0
        wait_until(lambda: processes_in(project) == [], what="no process left")


def test_a_service_that_dies_ends_the_others_and_is_told(
    project: Path, broker: EmbeddedBroker
) -> None:
    with Run(project, **broker_settings(broker.url)) as run:
        run.wait_ready()
        os.kill(_worker(project), signal.SIGKILL)

        assert run.service.process.wait(15) not in (0, None)
        assert processes_in(project) == []


def test_workers_can_be_multiplied(project: Path, broker: EmbeddedBroker) -> None:
    with Run(project, "--concurrency", "worker=3", **broker_settings(broker.url)) as run:
        run.wait_ready()
        wait_until(lambda: run.service.output().count('"consuming"') == 3, what="three workers")
        run.post(*range(50))
        run.wait_for_total(50)


def test_honcho_runs_the_procfile_by_itself(project: Path, broker: EmbeddedBroker) -> None:
    arguments = ["start", "-c", "worker=3"]
    with Run(project, *arguments, module="honcho", **broker_settings(broker.url)) as run:
        run.wait_ready()
        wait_until(lambda: run.service.output().count('"consuming"') == 3, what="three workers")
        run.post(*range(50))
        run.wait_for_total(50)
        run.stop(signal.SIGTERM)
        assert "sending SIGKILL" not in run.service.output()
        assert processes_in(project) == []


def test_settings_in_dotenv_are_honoured(project: Path, broker: EmbeddedBroker) -> None:
    path = project / "elsewhere" / "a file.jsonl"
    with (
        dotenv(project, BROKER_URL=broker.url, JSONL_PATH=f'"{path}"'),
        Run(project) as run,
    ):
        run.wait_ready()
        run.post(1)
        run.wait_for_total(1)
        assert path.exists()


def test_the_environment_wins_over_dotenv_in_every_process(
    project: Path, broker: EmbeddedBroker
) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with (
        dotenv(project, BROKER_URL=nobody, JSONL_PATH="wrong.jsonl"),
        Run(
            project,
            **broker_settings(broker.url),
            **{PREFIX + "JSONL_PATH": "right.jsonl"},
        ) as run,
    ):
        run.wait_ready()
        run.post(1)
        run.wait_for_total(1)
        assert (project / "right.jsonl").exists()
        assert not (project / "wrong.jsonl").exists()


def test_wrong_settings_are_all_named_and_nothing_is_started(project: Path) -> None:
    wrong = {PREFIX + "TTL_SECONDS": "soon", PREFIX + "MAX_EVENTS": "0"}
    with Run(project, **wrong) as run:
        assert run.service.process.wait(20) == 2
        assert PREFIX + "TTL_SECONDS" in run.service.output()
        assert PREFIX + "MAX_EVENTS" in run.service.output()
        assert "Traceback" not in run.service.output()
        assert not (project / "data").exists()


def _worker(folder: Path) -> int:
    for pid in processes_in(folder):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"worker.main" in command:
            return pid
    raise AssertionError("no worker")
