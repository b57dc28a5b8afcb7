"""ClickHouse inside this process: what outlives a kill, what is refused, what its filter knows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from shared.errors import SettingsError
from shared.stores.base import Store
from shared.stores.clickhouse import ClickHouseStore, check_url
from shared.stores.clickhouse_seen import FIRST_CAPACITY, Seen, hashes_of
from tests.harness import clean_environment
from tests.stores.append_embedded import BATCH
from tests.stores.samples import DAY, Clock, MakeStore, make_event, scanned, varied_events

VARIABLE = "ROUTIIUM_ANALYTICS_CLICKHOUSE_URL"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"chdb://{tmp_path}/chdb"


@pytest.fixture
def opened(url: str) -> Iterator[MakeStore]:
    """Opens the store; closes what the test left open, for a process has one folder at a time."""
    with ExitStack() as stack:

        def opened(
            ttl_seconds: int | None = None, clock: Callable[[], float] = time.time
        ) -> ClickHouseStore:
            store = ClickHouseStore(url, ttl_seconds=ttl_seconds, clock=clock)
            stack.callback(store.close)
            return store

        yield opened


@pytest.fixture
def store(opened: MakeStore) -> Store:
    return opened()


def _appending(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.append_embedded", url],
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_append_acknowledged_outlives_a_kill_in_the_middle_of_the_next(
    url: str, opened: MakeStore
) -> None:
    with _appending(url) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(15)][-1]
        process.kill()
    store = opened()
    found = [event.id for event in scanned(store)]

    assert found == [f"e{n:06}" for n in range(len(found))]
    assert len(found) >= acknowledged
    assert len(found) % BATCH == 0
    again = [make_event(event_id) for event_id in found]
    assert store.append([*again, make_event("new")]) == 1


def test_a_folder_that_another_process_holds_is_refused(url: str) -> None:
    with _appending(url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(SettingsError, match=f"{VARIABLE}: .*can't be opened") as refused:
            ClickHouseStore(url, variable=VARIABLE)
        process.kill()
    assert len(refused.value.problems[0].splitlines()) == 1


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=VARIABLE):
        ClickHouseStore(f"chdb://{tmp_path}/file", variable=VARIABLE)


@pytest.mark.parametrize("url", ["chdb://", "chdb://:memory:"])
def test_a_url_without_a_folder_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="must name a folder"):
        check_url(url, VARIABLE)


def test_a_missing_engine_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError) as refused:
        check_url("chdb:///anywhere", VARIABLE)
    assert refused.value.problems == [
        f"{VARIABLE}: chdb is not installed: pip install 'routiium-analytics[chdb]'"
    ]


def test_ids_are_known_after_another_start_of_the_engine(opened: MakeStore) -> None:
    events = varied_events(500, start=1_700_000_000, end=1_700_100_000)
    store = opened()
    assert store.append(events[:300]) == 300
    store.close()

    store = opened()
    assert store.append(events) == 200
    assert store.stats().total_events == 500


def test_the_hash_is_the_engines_own(store: Store) -> None:
    ids = ["", "a", "ä😀", "x" * 128, "a'b\\c"]
    store.append([make_event(event_id) for event_id in ids])
    asked = _one(store, "SELECT id_hash FROM routiium.routiium_events ORDER BY id")

    assert [int(line.strip("[]")) for line in asked.split()] == hashes_of(sorted(ids)).tolist()


def test_the_filter_knows_every_id_and_few_others() -> None:
    seen = Seen()
    count = 3 * FIRST_CAPACITY
    known = hashes_of(f"known-{n}" for n in range(count))
    for part in np.array_split(known, 7):
        seen.add(part)

    assert seen.among(known).all()
    others = hashes_of(f"other-{n}" for n in range(20_000))
    assert seen.among(others).mean() < 0.002


def test_expired_days_go_as_a_whole_and_the_rest_of_a_day_by_itself(opened: MakeStore) -> None:
    last = 2_000_000_000 // DAY * DAY - 1
    clock = Clock(last)
    store = opened(3 * DAY, clock)
    store.append([make_event(str(n), last - n * DAY // 4) for n in range(11)])
    assert _partitions(store) == 3

    clock.now = last + DAY + 3 * DAY // 8
    assert store.expire() == 4
    assert store.expire() == 0
    assert _partitions(store) == 2
    assert _rows(store) == store.stats().total_events == 7


def test_a_small_share_of_a_large_day_is_put_off(
    opened: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.stores.clickhouse_expiry._FEW_ROWS", 50)
    midnight = 2_000_000_000 // DAY * DAY
    clock = Clock(midnight + DAY)
    store = opened(DAY, clock)
    store.append([make_event(str(n), midnight + 1 + n) for n in range(100)])

    clock.now = midnight + DAY + 3
    assert store.expire() == 0
    assert (_rows(store), store.stats().total_events) == (100, 97)
    clock.now = midnight + DAY + 10
    assert store.expire() == 10
    assert _rows(store) == store.stats().total_events == 90


def test_the_table_takes_the_ttl_of_the_settings(opened: MakeStore) -> None:
    for ttl, clause in [
        (None, ""),
        (60, "toIntervalSecond(60)"),
        (7 * DAY, "toIntervalSecond(604800)"),
        (100 * 365 * DAY, ""),
        (60, "toIntervalSecond(60)"),
        (None, ""),
    ]:
        store = opened(ttl)
        assert store.append([]) == store.stats().total_events == 0
        definition = _one(store, "SELECT engine_full FROM system.tables WHERE database='routiium'")
        assert clause in definition
        assert ("TTL" in definition) == bool(clause)
        store.close()


def _one(store: Store, sql: str) -> str:
    assert isinstance(store, ClickHouseStore)
    return store._engine.query(sql).decode()


def _partitions(store: Store) -> int:
    active = "active AND rows AND table = 'routiium_events'"
    sql = f"SELECT uniqExact(partition) FROM system.parts WHERE {active}"
    return int(_one(store, sql).strip("[]\n"))


def _rows(store: Store) -> int:
    return int(_one(store, "SELECT count() FROM routiium.routiium_events").strip("[]\n"))
