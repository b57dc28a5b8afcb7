"""The JSONL file: shared by processes, torn by power cuts, removed, replaced and out of room."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import StoreUnavailable
from shared.stores.jsonl import JsonlStore
from shared.stores.jsonl_file import Appender, encode_line
from tests.harness import clean_environment
from tests.stores.samples import BASE, EVER, HOUR, Clock, make_event, scanned, wire


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analytics.jsonl"


@pytest.fixture
def store(path: Path) -> Iterator[JsonlStore]:
    store = JsonlStore(path)
    yield store
    store.close()


def _ids(path: Path) -> list[str]:
    """The ids of the file's lines, read without the store; each line must be whole."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line)["id"] for line in data.splitlines()]


def _start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.append_lines", str(path), *arguments],
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_append_the_same_events_at_once_write_each_line_once(path: Path) -> None:
    bounds = [(0, 600), (200, 800), (100, 700), (0, 800)]
    processes = [_start(path, "range", str(start), str(end)) for start, end in bounds]
    new = [int(process.communicate(timeout=60)[0]) for process in processes]

    assert sum(new) == 800
    assert sorted(_ids(path)) == [f"e{n:06}" for n in range(800)]


def test_a_killed_writer_leaves_a_file_that_another_goes_on_with(path: Path) -> None:
    with _start(path, "forever") as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(5)]
        process.kill()
        acknowledged = int([*printed, *process.stdout.readlines()][-1])

    store = JsonlStore(path)
    events = [make_event(f"e{n:06}") for n in range(acknowledged)]
    assert store.append([*events, make_event("z")]) == 1
    ids = _ids(path)
    assert len(ids) == len(set(ids)) >= acknowledged + 1


def test_a_torn_last_line_is_cut_on_the_next_append(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode_line(make_event("a"))
    path.write_bytes(whole + encode_line(make_event("torn"))[:-9])

    assert store.append([make_event("torn"), make_event("a")]) == 1
    assert _ids(path) == ["a", "torn"]
    assert [record.message for record in caplog.records] == ["torn last line cut off"]


def test_a_file_of_one_torn_line_is_emptied(path: Path, store: JsonlStore) -> None:
    path.write_bytes(b'{"id":"torn","times')

    assert store.append([make_event("a")]) == 1
    assert _ids(path) == ["a"]


def test_a_whole_last_line_without_newline_is_kept(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(encode_line(make_event("a")) + encode_line(make_event("b"))[:-1])
    assert [event.id for event in scanned(store)] == ["a", "b"]

    assert store.append([make_event("b"), make_event("c")]) == 1
    assert _ids(path) == ["a", "b", "c"]
    assert [record.message for record in caplog.records] == [
        "last line ended, its newline was missing"
    ]


def test_a_line_on_its_way_is_neither_read_nor_called_malformed(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(encode_line(make_event("a")) + b'{"id":"b","timest')

    assert [event.id for event in scanned(store)] == ["a"]
    assert caplog.records == []


def test_malformed_lines_are_skipped_and_counted_in_one_log_line(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    good = [encode_line(make_event(name)) for name in "abc"]
    bad = [b"not json\n", b'{"id": "x"}\n', b"\xff\xfe\n", b"\n", b"[" * 5_000 + b"\n"]
    path.write_bytes(good[0] + b"".join(bad) + good[1] + b"{}\n" + good[2])

    for _ in range(3):
        assert [event.id for event in scanned(store)] == ["a", "b", "c"]
        assert store.stats().total_events == 3
    (record,) = caplog.records
    assert record.message == "malformed lines skipped"
    assert record.__dict__["lines"] == 5
    assert store.append([make_event(name) for name in "abcd"]) == 1


def test_blank_lines_and_carriage_returns_are_no_fault(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [encode_line(make_event(name))[:-1] for name in "ab"]
    path.write_bytes(b"\r\n".join([lines[0], b"", lines[1], b""]))

    assert [event.id for event in scanned(store)] == ["a", "b"]
    assert store.append([make_event("b"), make_event("c")]) == 1
    assert caplog.records == []


def test_a_line_longer_than_a_block_is_read(path: Path, store: JsonlStore) -> None:
    long = make_event("long")
    long.request.user_agent = "x" * 9_000_000
    store.append([make_event("a"), long, make_event("b")])

    assert [event.id for event in scanned(store)] == ["a", "b", "long"]
    reopened = JsonlStore(path)
    assert reopened.append([make_event(name) for name in ("a", "long", "b", "c")]) == 1
    reopened.close()


def test_removing_the_file_clears_the_store(path: Path, store: JsonlStore) -> None:
    store.append([make_event("a"), make_event("b")])
    path.unlink()

    assert scanned(store) == []
    assert store.stats().total_events == 0
    assert store.append([make_event("a")]) == 1
    assert _ids(path) == ["a"]


def test_truncating_the_file_clears_the_store(path: Path, store: JsonlStore) -> None:
    store.append([make_event("a"), make_event("b")])
    os.truncate(path, 0)

    assert scanned(store) == []
    assert store.append([make_event("a")]) == 1
    assert _ids(path) == ["a"]


def test_truncating_to_a_shorter_file_forgets_what_was_cut(path: Path, store: JsonlStore) -> None:
    store.append([make_event("a")])
    length = path.stat().st_size
    store.append([make_event("b"), make_event("c")])
    os.truncate(path, length)

    assert store.append([make_event("a"), make_event("b")]) == 1
    assert _ids(path) == ["a", "b"]


@pytest.mark.parametrize("same_inode", [True, False], ids=["written over", "renamed over"])
@pytest.mark.parametrize("names", ["xyz", "xb", "xyzabcdefg"])
def test_a_replaced_file_is_what_counts(
    path: Path, store: JsonlStore, names: str, same_inode: bool
) -> None:
    store.append([make_event("a"), make_event("b"), make_event("c")])
    other = path.with_name("other")
    other.write_bytes(b"".join(encode_line(make_event(name, BASE + 1)) for name in names))
    if same_inode:
        shutil.copyfile(other, path)
    else:
        other.replace(path)

    new = {"a", "b", "c"} - set(names)
    assert store.append([make_event("a"), make_event("b"), make_event("c")]) == len(new)
    assert _ids(path) == [*names, *sorted(new)]


def test_removing_the_whole_folder_clears_the_store(tmp_path: Path) -> None:
    path = tmp_path / "data" / "deep" / "analytics.jsonl"
    one, other = JsonlStore(path), JsonlStore(path)
    one.append([make_event("a")])
    other.append([make_event("b")])
    shutil.rmtree(tmp_path / "data")

    assert one.append([make_event("a")]) == 1
    assert other.append([make_event("a"), make_event("b")]) == 1
    assert _ids(path) == ["a", "b"]


def test_stores_agree_though_the_lock_file_was_removed(path: Path) -> None:
    one, other = JsonlStore(path), JsonlStore(path)
    one.append([make_event("a")])
    lock = Path(f"{path}.lock")
    lock.unlink()
    other.append([make_event("b")])

    # Whoever holds a lock that has lost its name must take the one that others take.
    assert one.append([make_event("b"), make_event("c")]) == 1
    with other._appender.locked():
        assert one._appender._lock_fd is not None
        assert os.path.samestat(os.fstat(one._appender._lock_fd), lock.stat())


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_append_out_of_room_leaves_the_file_as_it_was(path: Path, store: JsonlStore) -> None:
    store.append([make_event("a")])
    before = path.read_bytes()

    with (
        _file_size_limit(len(before) + 700),
        pytest.raises(StoreUnavailable, match=str(path)),
    ):
        store.append([make_event(f"b{n}") for n in range(9)])
    assert path.read_bytes() == before
    assert store.append([make_event("a"), *(make_event(f"b{n}") for n in range(9))]) == 9


def test_an_append_that_can_not_be_synced_leaves_the_file_as_it_was(
    path: Path, store: JsonlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append([make_event("a")])
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shared.stores.jsonl_file._sync", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            store.append([make_event("b")])
    assert path.read_bytes() == before
    assert store.append([make_event("b")]) == 1


def test_an_expiry_out_of_room_leaves_the_file_as_it_was(path: Path) -> None:
    clock = Clock()
    store = JsonlStore(path, ttl_seconds=HOUR, clock=clock)
    store.append([make_event(f"a{n}", BASE + n) for n in range(9)])
    before = path.read_bytes()
    clock.now = BASE + HOUR

    with _file_size_limit(500), pytest.raises(StoreUnavailable):
        store.expire()
    assert path.read_bytes() == before
    assert [name.name for name in path.parent.iterdir() if name.suffix == ".new"] == []
    assert store.expire() == 1


def test_an_expiry_keeps_the_order_and_the_permissions_of_the_file(path: Path) -> None:
    clock = Clock()
    store = JsonlStore(path, ttl_seconds=HOUR, clock=clock)
    store.append([make_event(name, BASE + at) for name, at in (("c", 9), ("a", 0), ("b", 5))])
    path.chmod(0o600)
    clock.now = BASE + HOUR

    assert store.expire() == 1
    assert _ids(path) == ["c", "b"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("call", ["ping", "stats", "scan", "append", "expire", "clear"])
def test_a_path_that_is_no_file_is_a_store_that_is_away(tmp_path: Path, call: str) -> None:
    (tmp_path / "file").touch()
    store = JsonlStore(tmp_path / "file" / "analytics.jsonl", ttl_seconds=HOUR)
    calls = {
        "ping": store.ping,
        "stats": store.stats,
        "scan": lambda: list(store.scan(EVER)),
        "append": lambda: store.append([make_event("a")]),
        "expire": store.expire,
        "clear": store.clear,
    }
    with pytest.raises(StoreUnavailable):
        calls[call]()


def test_a_folder_in_the_files_place_is_a_store_that_is_away(path: Path) -> None:
    path.mkdir()
    store = JsonlStore(path)
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable):
        store.stats()
    with pytest.raises(StoreUnavailable):
        store.append([make_event("a")])


def test_ids_are_known_among_the_newest_of_the_window(path: Path) -> None:
    appender = Appender(path, window=3)
    appender.append([make_event(name) for name in "abcd"])
    assert appender.append([make_event("b"), make_event("d")]) == 0
    assert appender.append([make_event("a")]) == 1

    reopened = Appender(path, window=3)
    assert reopened.append([make_event(name) for name in "cda"]) == 0
    assert reopened.append([make_event("b")]) == 1
    appender.close()
    reopened.close()


def test_a_window_is_filled_from_what_other_objects_append(path: Path) -> None:
    one, other = Appender(path, window=2), Appender(path, window=2)
    one.append([make_event("a")])
    other.append([make_event("b"), make_event("c")])

    assert one.append([make_event("b"), make_event("c")]) == 0
    assert one.append([make_event("a")]) == 1
    one.close()
    other.close()


def test_the_file_is_one_event_a_line_in_the_order_of_arrival(
    path: Path, store: JsonlStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    events = [make_event("b", BASE + 9), make_event("a", BASE)]
    for event in events:
        store.append([event])

    assert path.read_text().splitlines() == wire(events)
    assert caplog.records == []
