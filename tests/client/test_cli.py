"""Each command, on the real pipeline."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import routiium_client.cli.doctor as doctor_module
from routiium_client.cli import tail
from routiium_client.cli.service import QUERY, Params, Service
from routiium_client.cli.tail import Follower
from tests.client.commands import CommandLine, addresses
from tests.harness import Pipeline, clean_environment, event, free_port, wait_until
from tests.query_api.test_dead_letters import bury

NOBODY = f"http://127.0.0.1:{free_port()}"
TOKENS: dict[str, Any] = {"INGEST_TOKENS": "in", "QUERY_TOKENS": "read", "ADMIN_TOKENS": "admin"}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, value in addresses(pipeline).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def recent(number: int, **changes: Any) -> dict[str, Any]:
    return event(number, **{"timestamp": int(time.time()), **changes})


def test_sent_traffic_is_in_stats_and_top(cli: CommandLine, pipeline: Pipeline) -> None:
    before = pipeline.total()
    assert cli.good("send", "-n", "120", "--seed", "7", "--json").json["sent"] == 120
    pipeline.wait_for_total(before + 120)

    found = cli.good("stats", "--last", "1h", "--json").json
    assert found["store"]["total_events"] == before + 120
    assert found["range"] == pipeline.get("aggregate", start=found["range"]["period_start"]) | {
        "period_end": found["range"]["period_end"]
    }
    assert f"{found['range']['total_input_tokens']:,}" in cli.good("stats", "--last", "1h").out

    models = cli.good("top", "--by", "model", "--sort", "tokens", "--limit", "2", "--json").json
    tokens = [group["input_tokens"] + group["output_tokens"] for group in models["groups"]]
    assert len(tokens) == 2
    assert tokens == sorted(tokens, reverse=True)
    assert "team" not in cli.good("top", "--by", "api_key_id").out
    (only,) = cli.good("top", "-w", "model=gpt-4o", "--json").json["groups"]
    assert only["value"] == "gpt-4o"


def test_an_export_imports_as_the_same_events(
    cli: CommandLine, pipeline: Pipeline, folder: Path
) -> None:
    cli.good("send", "-n", "50")
    wait_until(lambda: pipeline.backlog() == 0, what="an empty queue")
    stored = pipeline.total()
    for name, options in (("a.jsonl", ()), ("b.csv", ("--format", "csv", "--columns", "all"))):
        cli.good("export", "-o", str(folder / name), *options)
        done = cli.good("import", str(folder / name), "--json").json
        assert (done["accepted"] >= 50, done["rejected"]) == (True, 0)

    wait_until(lambda: pipeline.backlog() == 0, what="an empty queue")
    assert pipeline.total() == stored
    again = cli.good("import", str(folder / "a.jsonl"), str(folder / "b.csv"))
    assert "nothing new" in again.out


def test_lines_without_ids_are_the_same_events_the_next_time(
    cli: CommandLine, pipeline: Pipeline, folder: Path
) -> None:
    before = pipeline.total()
    path = folder / "old.jsonl"
    lines = [json.dumps(recent(n, id=None)) for n in range(30)]
    path.write_text("\n".join(lines) + "\n")
    for _ in range(2):
        assert cli.good("import", str(path), "--restart", "--json").json["accepted"] == 30
    wait_until(lambda: pipeline.backlog() == 0, what="an empty queue")
    assert pipeline.total() == before + 30


def test_bad_lines_are_named_by_their_number_and_cost_no_other(
    cli: CommandLine, folder: Path
) -> None:
    path = folder / "bad.jsonl"
    good = json.dumps(recent(1, id="good"))
    path.write_text(f"{good}\n\nnot json\n{good}\n" + '{"id": "x", "request": {}}\n')

    ended = cli("import", str(path))

    assert ended.status == 1
    assert "2 taken, 2 refused" in ended.out
    assert "line 3: not valid JSON" in ended.out
    assert "line 5: request.endpoint: is required" in ended.out


def test_tail_shows_what_is_stored_once_and_as_it_comes(pipeline: Pipeline) -> None:
    service = Service(QUERY, pipeline.query_url, None)
    follower = Follower(service, [("model", "tailed")])
    request = {"endpoint": "/v1", "model": "tailed"}
    pipeline.post([recent(n, id=f"tail-{n}", request=request) for n in range(5)])
    begun = wait_until(lambda: follower.begin(time.time(), 3))
    pipeline.post([recent(9, id="tail-9", request=request)])
    came = wait_until(lambda: follower.poll(time.time()))

    assert [one["id"] for one in begun] == ["tail-2", "tail-3", "tail-4"]
    assert [one["id"] for one in came] == ["tail-9"]


def test_tail_shows_a_request_that_took_long_when_it_is_stored(pipeline: Pipeline) -> None:
    follower = Follower(Service(QUERY, pipeline.query_url, None), [("model", "slow")])
    request = {"endpoint": "/v1", "model": "slow"}
    now = time.time()
    assert follower.begin(now, 10) == []
    pipeline.post([event(1, id="slow-1", request=request, timestamp=int(now) - 1_800)])
    looks = count(int(now), 10)

    came = wait_until(lambda: follower.poll(next(looks)))

    assert [one["id"] for one in came] == ["slow-1"]
    assert follower.poll(next(looks)) == []


def test_tail_looks_back_a_bounded_number_of_pages(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_PAGE", 10)
    monkeypatch.setattr(tail, "_FAR_PAGES", 3)
    asked: list[str] = []

    class Counting(Service):
        def get(self, path: str, params: Params = ()) -> dict[str, Any]:
            asked.append(path)
            return super().get(path, params)

    follower = Follower(Counting(QUERY, pipeline.query_url, None), [("model", "many")])
    request = {"endpoint": "/v1", "model": "many"}
    now = int(time.time())
    before = pipeline.total()
    old = [event(n, id=f"old-{n}", request=request, timestamp=now - 2_000 + n) for n in range(90)]
    near = [event(n, id=f"near-{n}", request=request, timestamp=now - 60) for n in range(45)]
    pipeline.post(old + near)
    pipeline.wait_for_total(before + 135)

    begun = follower.begin(now, 1_000)

    assert len(asked) == 5
    assert {one["id"] for one in begun} >= {f"near-{n}" for n in range(45)}
    assert len(begun) == 50
    # What lies behind is not taken for new later on, when there is less before it.
    assert follower.poll(now + 10) == []


def test_tail_ends_with_ctrl_c_and_without_an_error(pipeline: Pipeline) -> None:
    command = [sys.executable, "-m", "routiium_client.cli", "tail", "--json", "-w", "model=live"]
    env = clean_environment(addresses(pipeline))
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        request = {"endpoint": "/v1", "model": "live"}
        pipeline.post([recent(1, id="live-1", request=request)])
        line = tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        _, errors = tail.communicate(timeout=10)

    assert json.loads(line)["id"] == "live-1"
    assert (tail.returncode, errors) == (0, b"")


def test_dead_letters_are_shown_and_replayed_once_that_is_confirmed(
    cli: CommandLine, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.good("replay", "--json").json == {"replayed": 0, "missing": []}
    one, two = bury(pipeline, 2)

    listed = cli.good("replay", "--list").out
    assert "2 dead letters" in listed
    assert "told to choke" in listed
    assert "2 events could not be written" in cli.good("doctor").out
    assert cli.good("replay", one, "5-5", "--json").json == {"replayed": 1, "missing": ["5-5"]}
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli("replay").status == 1
    left = cli.good("replay", "--list", "--json").json["dead_letters"]
    assert [letter["id"] for letter in left] == [two]
    assert "1 dead letters are back" in cli.good("replay", "--yes").out


def test_a_healthy_installation_has_nothing_for_the_doctor(cli: CommandLine) -> None:
    findings = cli.good("doctor", "--json").json["findings"]

    assert {finding["level"] for finding in findings} == {"ok"}
    about = {finding["about"] for finding in findings}
    assert {"ingest", "store", "broker", "policies", "clocks", "workers", "versions"} <= about
    assert "✓" in cli.good("doctor").out


def test_the_doctor_says_what_does_not_answer(cli: CommandLine) -> None:
    ended = cli("doctor", "--ingest-url", NOBODY, "--json")

    assert ended.status == 1
    (wrong,) = [one for one in ended.json["findings"] if one["level"] == "wrong"]
    assert wrong["about"] == "ingest"
    assert "make run" in wrong["advice"]


def test_the_doctor_sees_services_of_another_version(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "installed_version", lambda: "9.9.9")

    assert cli.good("doctor").out.count("install the same version on both sides") == 2


def test_the_doctor_sees_a_clock_that_is_off_and_a_broker_that_forgets(
    cli: CommandLine, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "_now", lambda: datetime.now(UTC) + timedelta(seconds=90))
    client = pipeline.redis()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ended = cli("doctor")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()

    assert ended.status == 1
    assert re.search(r"clock is 9[01] s off", ended.out)
    assert "set it to noeviction" in ended.out


def test_what_nobody_answers_is_told_in_one_line(cli: CommandLine, folder: Path) -> None:
    path = folder / "a.jsonl"
    path.write_text("{}\n")
    for command in (["stats"], ["top"], ["export"], ["tail"], ["replay"]):
        ended = cli(*command, "--query-url", NOBODY)
        assert (ended.status, ended.err.count("\n")) == (1, 1)
        assert f"does not answer at {NOBODY}" in ended.err
        assert "--query-url" in ended.err
    for command in (["send"], ["import", str(path)]):
        assert "--ingest-url" in cli(*command, "--ingest-url", NOBODY).err
    told = json.loads(cli("stats", "--json", "--query-url", NOBODY).err)
    assert NOBODY in told["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["top", "--last", "5x"], "no length of time"),
        (["top", "--last", "5m", "--start", "1"], "give one of them"),
        (["top", "-w", "gpt"], "is not NAME=VALUE"),
        (["stats", "-w", "colour=red"], "colour: is not a parameter"),
        (["stats", "--start", "noon"], "start: 'noon' is neither"),
        (["export", "--json"], "--output"),
        (["stats", "--query-url", "localhost"], "is not a URL"),
        (["import", "/nowhere.jsonl"], "does not exist"),
    ],
)
def test_wrong_usage_is_explained(cli: CommandLine, arguments: list[str], said: str) -> None:
    ended = cli(*arguments)

    assert ended.status in (1, 2)
    assert said in ended.err.replace("\n", " ")


def test_a_refused_export_leaves_an_old_file_alone(cli: CommandLine, folder: Path) -> None:
    path = folder / "kept.csv"
    path.write_text("precious")

    assert cli("export", "-o", str(path), "--columns", "nonsense").status == 1
    assert path.read_text() == "precious"
    ended = cli("export", "-o", str(folder / "nowhere" / "a.csv"))
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "No such file" in ended.err


def test_completion_is_there_for_a_shell(pipeline: Pipeline) -> None:
    env = clean_environment({"_ROUTIIUM_ANALYTICS_COMPLETE": "complete_bash"})
    env |= {"COMP_WORDS": "routiium-analytics st", "COMP_CWORD": "1"}
    command = [str(Path(sys.executable).parent / "routiium-analytics")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)

    assert done.stdout.split() == ["stats"]


@pytest.mark.long
def test_tokens_are_asked_for_and_the_doctor_knows_them(
    cli: CommandLine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(tmp_path_factory.mktemp("tokens"), **TOKENS) as guarded:
        for name, value in addresses(guarded).items():
            monkeypatch.setenv(name, value)
        assert "give --token or set ROUTIIUM_ANALYTICS_TOKEN" in cli("stats").err
        assert cli("stats", "--token", "read").status == 0
        assert "lacks the admin right" in cli("replay", "--yes", "x-1", "--token", "read").err
        assert "not known here" in cli("send", "--token", "wrong").err
        assert cli("send", "-n", "3", "--token", "in").status == 0
        levels = {
            one["about"]: one["level"]
            for one in cli("doctor", "--json", "--token", "read").json["findings"]
        }
    assert levels["token for ingest"] == "wrong"
    assert levels["token for the query service"] == "ok"
