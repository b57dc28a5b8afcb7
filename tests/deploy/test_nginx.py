"""Three workers under honcho, and nginx with our configuration in front: one host name, TLS."""

from __future__ import annotations

import getpass
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.broker import EmbeddedBroker
from tests.deploy.running import Run, broker_settings
from tests.deploy.tools import run, tool
from tests.harness import ROOT, event, free_port, wait_until

pytestmark = pytest.mark.long

HOST = "analytics.example.com"
MAIN = """
user {user};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    broker = EmbeddedBroker(tmp_path_factory.mktemp("broker"), free_port())
    broker.start()
    folder = tmp_path_factory.mktemp("project")
    with Run(folder, "-c", "worker=3", **broker_settings(broker.url)) as running:
        running.wait_ready()
        yield running
        assert running.stop() == 0
    broker.stop()


@pytest.fixture(scope="module")
def site(services: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of nginx by our host name, which trusts its certificate alone."""
    folder = tmp_path_factory.mktemp("nginx")
    certify(folder)
    tls, plain = free_port(), free_port()
    (folder / "site.conf").write_text(adapted(folder, services, tls=tls, plain=plain))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=getpass.getuser()))
    nginx = tool("nginx", "nginx")
    run(nginx, "-t", "-e", folder / "start.log", "-c", folder / "nginx.conf")
    command = [nginx, "-e", str(folder / "start.log"), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command)
    trusted = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
    client = httpx.Client(
        base_url=f"https://127.0.0.1:{tls}", verify=trusted, headers={"Host": HOST}
    )
    try:
        with client:
            wait_until(lambda: answers(client), what=f"nginx; its logs are in {folder}")
            yield client
    finally:
        process.terminate()
        process.wait(10)


def certify(folder: Path) -> None:
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    command += ["-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"]
    run(tool("openssl", "openssl"), *command, "-keyout", key, "-out", certificate)


def adapted(folder: Path, services: Run, *, tls: int, plain: int) -> str:
    """The configuration as it is, but for ports and the place of the certificate."""
    text = (ROOT / "deploy/nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:8087", services.ingest.removeprefix("http://")),
        ("127.0.0.1:8088", services.query.removeprefix("http://")),
        ("listen 443", f"listen 127.0.0.1:{tls}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("/etc/ssl/routiium-analytics", str(folder)),
    ):
        assert old in text
        text = text.replace(old, new)
    return re.sub(r"\n *listen \[::\].*", "", text)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/analytics/stats").status_code == 200
    except httpx.TransportError:
        return False


def test_both_services_answer_under_one_name(site: httpx.Client, services: Run) -> None:
    posted = site.post("/analytics/events", json=[event(number) for number in range(500)])
    assert (posted.status_code, posted.json()["accepted"]) == (202, 500)
    services.wait_for_total(500)

    ends = {"start": 1_700_000_000, "end": 1_700_001_000}
    read = site.get("/analytics/events", params={**ends, "limit": 3}).json()
    assert [one["id"] for one in read["events"]] == ["event-499", "event-498", "event-497"]
    assert site.get("/analytics/aggregate", params=ends).json()["total_requests"] == 500
    lines = site.get("/analytics/export", params={**ends, "format": "ndjson"}).text.splitlines()
    assert len(lines) == 500


def test_three_workers_share_the_queue(site: httpx.Client) -> None:
    workers = site.get("/analytics/pipeline").json()["workers"]
    assert len(workers) == 3
    assert all(worker["alive"] for worker in workers)


def test_what_is_for_operators_stays_inside(site: httpx.Client) -> None:
    for path in ("/healthz/live", "/healthz/ready", "/metrics"):
        assert site.get(path).status_code == 404, path


def test_refusals_have_the_services_form(site: httpx.Client) -> None:
    too_large = site.post(
        "/analytics/events",
        content=b" " * (33 * 1024 * 1024),
        headers={"Content-Type": "application/json"},
    )
    assert (too_large.status_code, too_large.json()["error"]["type"]) == (413, "payload_too_large")
    missing = site.get("/analytics/nothing")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found")
