"""A private Postgres cluster in a folder: the yard's own database where nobody has brought one.

Postgres refuses to run as root. As root we therefore run it as `nobody`, who then owns the folder.

    with EmbeddedPostgres(Path(".yard/postgres"), durable=True) as postgres:
        postgres.create_database("yard")
        database = Database(postgres.url("yard"))

A supervisor that starts processes itself calls `prepare`, spawns `argv` as `spawn_user` with
`ENVIRONMENT`, waits with `wait_ready`, and ends it with `STOP_SIGNAL`. The folder holds:

    password  port      made once, readable by the server's user alone
    data/               the cluster
    .s.PGSQL.<port>     a socket for psql; our own programs use loopback
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg
from psycopg import sql

from orchestrator.child_process import ChildProcess
from orchestrator.embedded import unprivileged
from orchestrator.embedded.postgres_programs import (
    EmbeddedPostgresError as EmbeddedPostgresError,
)
from orchestrator.embedded.postgres_programs import (
    find_programs,
    require_same_version,
)

SUPERUSER = "postgres"
HOST = "127.0.0.1"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
STOP_SIGNAL = signal.SIGINT  # Postgres's "fast": ends sessions, then stops cleanly

CONNECTIONS_MAX = 200
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
INITDB_SECONDS_MAX = 120.0
PREDECESSOR_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 2
POLL_SECONDS = 0.02
SOCKET_PATH_BYTES_MAX = 107

_ALWAYS = {
    "listen_addresses": HOST,
    "max_connections": str(CONNECTIONS_MAX),
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
}


class EmbeddedPostgres:
    """One cluster in `folder`, started by this process or by a supervisor.

    `durable=False` trades safety against a power cut for speed: right for tests, wrong for data.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder.absolute()
        self.durable = durable
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._process: ChildProcess | None = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    # For whoever wants a running server.

    def start(self) -> None:
        """Start the server and return once it answers. Raises EmbeddedPostgresError."""
        self.prepare()
        self._process = process = ChildProcess.spawn(
            self.argv(),
            env=ENVIRONMENT,
            log=self.log,
            user=self.spawn_user(),
            first_signal=STOP_SIGNAL,
            grace_seconds=STOP_SECONDS_MAX,
        )
        try:
            self.wait_ready(START_SECONDS_MAX, is_alive=lambda: process.poll() is None)
        except EmbeddedPostgresError as error:
            self.stop()
            raise EmbeddedPostgresError(f"{error} Its last words:\n{process.tail()}") from None

    def stop(self) -> None:
        """End every session and stop the server cleanly, if it was started here."""
        if self._process is not None:
            self._process.terminate(STOP_SECONDS_MAX)
            self._process = None

    def url(self, database: str) -> str:
        """The libpq address of one database, password included."""
        password = quote((self.folder / "password").read_text(), safe="")
        port = (self.folder / "port").read_text()
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> None:
        """Create an empty database, unless there is one of this name."""
        with self._connect() as server:
            try:
                server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except psycopg.errors.DuplicateDatabase:
                pass  # it was asked for before

    # For a supervisor, which spawns the server itself.

    def prepare(self) -> None:
        """Make the cluster unless it is there, and see that the server can start. Idempotent.

        Waits for a server of this folder that is just ending (a supervisor killed a moment ago).
        """
        programs = find_programs()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._arrange_owner(programs)
        self._await_predecessor()
        if not self.data.exists():
            self._make_cluster(programs)
        require_same_version(programs, self.data)
        if not self._port_is_free():
            port = str(_free_port())
            unprivileged.write_private(self.folder / "port", port, unprivileged.account())

    def argv(self) -> list[str]:
        """The server's command line, once prepared. It stays in the foreground, logs to stderr."""
        settings = dict(_ALWAYS) if self.durable else _ALWAYS | _FORGETFUL
        settings["port"] = (self.folder / "port").read_text()
        socket_path = self.folder / f".s.PGSQL.{settings['port']}"
        fits = len(os.fsencode(socket_path)) <= SOCKET_PATH_BYTES_MAX
        settings["unix_socket_directories"] = str(self.folder) if fits else ""
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(find_programs() / "postgres"), "-D", str(self.data), *options]

    def spawn_user(self) -> str | None:
        """The user to run the server as, or None to stay who we are."""
        account = unprivileged.account()
        return None if account is None else account.pw_name

    def wait_ready(self, timeout_seconds: float, *, is_alive: Callable[[], bool] = lambda: True) -> None:
        """Return once the server answers. Raises EmbeddedPostgresError if it ends or is late."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self._connect().close()
                return
            except psycopg.OperationalError as error:
                if not is_alive():
                    raise EmbeddedPostgresError(
                        f"Postgres in {self.folder} ended while it started."
                    ) from None
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"Postgres in {self.folder} gave no answer in {timeout_seconds:.0f} s: {error}"
                    ) from None
                time.sleep(POLL_SECONDS)

    # How.

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=CONNECT_SECONDS_MAX)

    def _arrange_owner(self, programs: Path) -> None:
        """As root: see that the server's user owns the folder and can reach it and the programs."""
        user = unprivileged.account()
        if user is None:
            return
        for path in (self.folder, programs):
            closed = unprivileged.closed_folder(path, user)
            if closed is not None:
                raise EmbeddedPostgresError(
                    f"Postgres refuses to run as root, so it runs as {user.pw_name!r}, who cannot"
                    f" pass through {closed} to reach {path}. Choose a home outside it (YARD_HOME),"
                    f" run the yard as an ordinary user, or `chmod o+x {closed}`."
                )
        owner = self.folder.stat().st_uid
        if owner != user.pw_uid and self.data.exists():
            raise EmbeddedPostgresError(
                f"{self.folder} belongs to user number {owner}, who made it. Run the yard as that"
                f" user again, or give it away: chown -R {user.pw_name} {self.folder}"
            )
        unprivileged.give(self.folder, user)

    def _make_cluster(self, programs: Path) -> None:
        """initdb beside the final place, so that a cluster is there whole or not at all."""
        user = unprivileged.account()
        password = secrets.token_urlsafe(32)
        unprivileged.write_private(self.folder / "password", password, user)
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [
            *(str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER),
            *("-A", "scram-sha-256", f"--pwfile={self.folder / 'password'}"),
            *("-E", "UTF8", "--locale=C"),
            *([] if self.durable else ["--no-sync"]),
        ]
        made = subprocess.run(
            command,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            env=ENVIRONMENT,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INITDB_SECONDS_MAX,
        )
        if made.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed in {self.folder}:\n{made.stderr.strip()}")
        unfinished.rename(self.data)

    def _await_predecessor(self) -> None:
        """Wait until no server has the data; remove a pid file that names some other program."""
        deadline = time.monotonic() + PREDECESSOR_SECONDS_MAX
        while (pid := self._predecessor()) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another Postgres (process {pid}) serves {self.folder}: a yard with this home"
                    " is running already. Stop it, or choose another home."
                )
            time.sleep(POLL_SECONDS)

    def _predecessor(self) -> int | None:
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
            return None  # no such process: Postgres itself recovers from its stale file
        if os.fsencode(self.data) in command_line.split(b"\0"):
            return pid
        pid_file.unlink(missing_ok=True)  # the number is another program's now
        return None

    def _port_is_free(self) -> bool:
        try:
            port = int((self.folder / "port").read_text())
        except (FileNotFoundError, ValueError):
            return False
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Postgres does
            try:
                probe.bind((HOST, port))
            except OSError:
                return False  # somebody took it while we were down
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
