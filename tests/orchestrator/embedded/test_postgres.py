"""Each test makes clusters of its own; what needs only a running one uses the shared fixture."""

import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.embedded import postgres as module
from orchestrator.embedded import unprivileged
from orchestrator.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError

pytestmark = pytest.mark.server


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside pytest's own folder, which the server's user cannot enter."""
    path = Path(tempfile.mkdtemp(prefix="yard-test-postgres-"))
    yield path
    shutil.rmtree(path)


def test_it_keeps_what_was_committed_and_its_address_over_a_restart(folder: Path):
    with EmbeddedPostgres(folder, durable=True) as first:
        first.create_database("yard")
        url = first.url("yard")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(folder, durable=True) as second:
        assert second.url("yard") == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
            assert connection.execute("SHOW fsync").fetchone() == ("on",)


@pytest.mark.fault
def test_it_recovers_from_being_killed(folder: Path):
    """The postmaster dies by SIGKILL with a session open, and leaves its pid file behind."""
    first = EmbeddedPostgres(folder, durable=True)
    first.start()
    connection = psycopg.connect(first.url("postgres"), autocommit=True)
    connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    pid_file = first.data / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    first.stop()
    assert pid_file.exists()
    with (
        EmbeddedPostgres(folder, durable=True) as second,
        psycopg.connect(second.url("postgres")) as again,
    ):
        assert again.execute("SELECT answer FROM kept").fetchone() == (42,)
    connection.close()


def test_a_pid_file_that_names_another_program_does_not_keep_it_down(folder: Path):
    postgres = EmbeddedPostgres(folder, durable=False)
    postgres.prepare()
    pid_file = postgres.data / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{postgres.data}\n")
    with postgres:
        assert int(pid_file.read_text().split()[0]) != os.getpid()


def test_a_second_server_of_one_folder_is_refused(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PREDECESSOR_SECONDS_MAX", 0.0)
    with pytest.raises(EmbeddedPostgresError, match="running already"):
        EmbeddedPostgres(postgres.folder, durable=False).start()


def test_a_port_that_somebody_took_meanwhile_is_replaced(folder: Path):
    postgres = EmbeddedPostgres(folder, durable=False)
    postgres.prepare()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        (folder / "port").write_text(str(taken))
        with postgres:
            assert f":{taken}/" not in postgres.url("postgres")


def test_half_a_cluster_is_begun_again(folder: Path):
    unfinished = folder / "data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(folder, durable=False) as postgres:
        postgres.create_database("yard")


def test_nobody_enters_without_the_password(postgres: EmbeddedPostgres):
    right = postgres.url("postgres")
    password = (postgres.folder / "password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(right.replace(password, "guess"))
    assert stat.S_IMODE((postgres.folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700


def test_creating_a_database_twice_is_no_error(postgres: EmbeddedPostgres):
    postgres.create_database("twice")
    postgres.create_database("twice")


def test_a_folder_that_the_server_cannot_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretends to be root whose `nobody` is a stranger to this folder, whoever runs the test."""
    stranger = _account_with_uid(os.geteuid() + 1)
    monkeypatch.setattr(unprivileged, "account", lambda: stranger)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=r"cannot pass through .*chmod o\+x"):
        EmbeddedPostgres(closed / "postgres", durable=False).prepare()


def test_a_cluster_of_another_version_is_explained(folder: Path):
    postgres = EmbeddedPostgres(folder, durable=False)
    postgres.prepare()
    (postgres.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match="made by Postgres 9"):
        postgres.prepare()


def test_a_server_that_cannot_start_says_why_at_once(folder: Path):
    postgres = EmbeddedPostgres(folder, durable=False)
    postgres.prepare()
    (postgres.data / "postgresql.conf").write_text("no_such_setting = on\n")
    began = time.monotonic()
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        postgres.start()
    assert time.monotonic() - began < module.START_SECONDS_MAX / 2


def test_a_socket_path_beyond_the_systems_limit_leaves_loopback(tmp_path: Path):
    postgres = EmbeddedPostgres(tmp_path / ("deep" * 30), durable=False)
    postgres.folder.mkdir()
    (postgres.folder / "port").write_text("5432")
    assert "unix_socket_directories=" in postgres.argv()


def _account_with_uid(uid: int) -> unprivileged.pwd.struct_passwd:
    return unprivileged.pwd.struct_passwd(("nobody", "x", uid, uid, "", "/", "/bin/false"))
