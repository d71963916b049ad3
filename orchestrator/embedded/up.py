"""A whole yard on one machine, from nothing: what must be there before its parts can start.

`parts.py` says what the parts are; `supervisor.py` runs them.
"""

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pydantic import SecretStr

from orchestrator.embedded import lock
from orchestrator.embedded.parts import CannotStart, stages
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.embedded.supervisor import PartStatus, Supervisor
from orchestrator.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Addresses:
    """Where a running yard answers. `notes` are things a person should know."""

    api: str
    prefect_ui: str
    keys_file: Path
    logs: Path
    notes: Sequence[str]


def up(
    settings: Settings,
    *,
    until: Event,
    changed: Callable[[Sequence[PartStatus]], None],
    ready: Callable[[Addresses], None],
) -> None:
    """Run a yard until `until` is set, and leave no process behind, however it ends.

    `changed` hears of every change of any part, `ready` once of where the yard answers. Raises
    CannotStart, lock.AlreadyUp, postgres.EmbeddedPostgresError, supervisor.PartFailed.
    """
    home = settings.absolute_home()
    _make_home(home)
    with lock.hold(home, api_url=settings.api_url()):
        _require_free_port("The API", settings.api_host, settings.api_port, "YARD_API_PORT")
        _require_free_port("Prefect", settings.prefect_host, settings.prefect_port, "YARD_PREFECT_PORT")
        settings, notes = _with_prefect_auth(settings)
        postgres = _private_postgres(settings)
        if postgres is not None:
            postgres.prepare()
            settings = _with_databases(settings, postgres)
        addresses = Addresses(
            api=settings.api_url(),
            prefect_ui=settings.prefect_ui_url(),
            keys_file=settings.keys_file(),
            logs=home / "logs",
            notes=notes,
        )
        Supervisor(stages(settings, postgres), logs=addresses.logs, changed=changed).run(
            until=until, ready=lambda: ready(addresses)
        )


def _make_home(home: Path) -> None:
    """Private; but root's lets Postgres through, which runs as another user in its own folder."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _require_free_port(what: str, host: str, port: int, setting: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"{what} cannot listen on {host}:{port} ({error.strerror}). Perhaps another yard or"
                f" program has that port: end it, or choose another one: {setting}={port + 1}"
            ) from None


def _with_prefect_auth(settings: Settings) -> tuple[Settings, list[str]]:
    """Prefect beyond loopback is never open: without credentials some are made, and kept."""
    if settings.prefect_host in LOOPBACK or settings.prefect_auth is not None:
        return settings, []
    path = settings.absolute_home() / "prefect_auth"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"yard:{secrets.token_urlsafe(32)}")
    note = (
        f"Prefect listens on {settings.prefect_host}, beyond this machine, so it asks for a name"
        f" and a password. They are in {path}; to choose them, set YARD_PREFECT_AUTH=user:password."
    )
    return settings.model_copy(update={"prefect_auth": SecretStr(path.read_text())}), [note]


def _private_postgres(settings: Settings) -> EmbeddedPostgres | None:
    """The cluster in the home, or None where both databases are somebody else's."""
    given = (settings.database_url, settings.prefect_database_url)
    if None not in given:
        return None
    if given != (None, None):
        raise CannotStart(
            "The yard and Prefect each need a database of their own. Set both YARD_DATABASE_URL and"
            " YARD_PREFECT_DATABASE_URL (postgresql://…), or neither to use a private Postgres."
        )
    return EmbeddedPostgres(settings.absolute_home() / "postgres", durable=True)


def _with_databases(settings: Settings, postgres: EmbeddedPostgres) -> Settings:
    return settings.model_copy(
        update={
            "database_url": SecretStr(postgres.url("yard")),
            "prefect_database_url": SecretStr(postgres.url("prefect")),
        }
    )
