"""The page and its files as they are served; tests/dashboard drives the page in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT
from tests.query_api.server import QueryServer
from tests.stores.samples import make_event

STATIC = ROOT / "query_api/static"
FILES = sorted(path.name for path in STATIC.iterdir())
SOURCES = [name for name in FILES if name.endswith((".js", ".css", ".html"))]
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "require-trusted-types-for 'script'",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryServer]:
    with QueryServer(tmp_path_factory.mktemp("guarded"), QUERY_TOKENS="read-1") as running:
        yield running


def test_the_page_and_all_its_files_need_no_token(guarded: QueryServer) -> None:
    for path in ["/", *(f"/static/{name}" for name in FILES)]:
        answer = guarded.http.get(path)
        assert answer.status_code == 200, path
        assert answer.content == (STATIC / (path.rpartition("/")[2] or "index.html")).read_bytes()
    assert guarded.http.get("/analytics/stats").status_code == 401


def test_every_file_forbids_what_is_inline_or_from_elsewhere(guarded: QueryServer) -> None:
    for path in ("/", "/static/main.js"):
        headers = guarded.http.get(path).headers
        assert set(headers["content-security-policy"].split("; ")) >= POLICY
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_for_files_that_exist_and_are_its_own(guarded: QueryServer) -> None:
    page = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"#]+)"', page)

    assert named
    assert {name.removeprefix("static/") for name in named} <= set(FILES)
    imported = {
        name
        for source in SOURCES
        for name in re.findall(r'from "\./([^"]+)"', (STATIC / source).read_text())
    }
    assert imported <= set(FILES)
    # Each module is named in the page, so that all are asked for at once.
    assert {f"static/{name}" for name in imported} <= set(named)


def test_nothing_in_the_page_makes_html_of_text() -> None:
    for name in SOURCES:
        text = (STATIC / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not re.search(r"\sstyle=|\son\w+=\"", text), name


def test_a_file_that_is_known_is_not_sent_again(guarded: QueryServer) -> None:
    first = guarded.http.get("/static/main.js")
    again = guarded.http.get("/static/main.js", headers={"If-None-Match": first.headers["etag"]})
    other = guarded.http.get("/static/main.js", headers={"If-None-Match": '"another"'})

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200


def test_head_answers_like_get_without_the_file(guarded: QueryServer) -> None:
    answer = guarded.http.head("/")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/static/nothing.js", "/static/..%2fapp.py", "/static/"])
def test_no_other_file_is_served(guarded: QueryServer, path: str) -> None:
    assert guarded.http.get(path).status_code == 404


def test_an_answer_is_packed_for_who_takes_gzip_alone(query: QueryServer) -> None:
    query.store.append([make_event(f"e{number}", timestamp=1_000) for number in range(50)])
    asked = "/analytics/events?start=0&end=2000"
    packed = query.http.get(asked, headers={"Accept-Encoding": "gzip"})
    plain = query.http.get(asked, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 5
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


def test_the_package_carries_the_page() -> None:
    assert 'query_api = ["static/*"]' in (ROOT / "pyproject.toml").read_text()
    assert all(Path(name).suffix in (".js", ".css", ".html", ".svg") for name in FILES)
