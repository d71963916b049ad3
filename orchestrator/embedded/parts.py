"""The programs of an embedded yard: how each is started, and how it proves that it answers.

    postgres                          a private cluster, unless the databases are given
    schema                            migrations, and the first organizations with their keys (once)
    prefect                           its server
    deployments                       pools, queues and flows told to Prefect (once)
    dispatcher  worker-cpu  worker-gpu  api
    smoke-model                       a model to try things with (once), while those start

Each hears of the others by its environment alone, as it would in containers.
"""

import socket
import sys
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
from pydantic import SecretStr

from orchestrator.embedded.postgres import (
    ENVIRONMENT,
    STOP_SECONDS_MAX,
    STOP_SIGNAL,
    EmbeddedPostgres,
)
from orchestrator.embedded.prefect_environment import prefect_environment
from orchestrator.embedded.supervisor import Part
from orchestrator.models import smoke
from orchestrator.settings import PROJECT, Settings, inherited_environment

ANSWER_SECONDS_MAX = 2.0
SMOKE_MODEL_SECONDS_MAX = 900.0  # one minute on a free core
PREFECT_SECONDS_MAX = 180.0  # its own migrations, on a busy machine
DRAIN_SECONDS = 30.0  # as Kubernetes gives: a worker gives its work back, and its engines end


class CannotStart(Exception):
    """Something must be put right before a yard can start here; the message says what, and how."""


def stages(settings: Settings, postgres: EmbeddedPostgres | None) -> list[list[Part]]:
    """Every part, in the order of starting. Raises CannotStart."""
    env = _environment(settings)
    return [
        [] if postgres is None else [_postgres(postgres)],
        [_python("schema", "orchestrator.embedded.first_start", env=env, once=True)],
        [_prefect(settings, env)],
        [_python("deployments", "flows.deployments", env=env, once=True)],
        [
            _python("dispatcher", "flows.dispatcher", env=env),
            _worker(settings, env, "cpu"),
            _worker(settings, env, "gpu"),
            _api(settings, env),
            *_smoke_model(settings, env),
        ],
    ]


def _environment(settings: Settings) -> Mapping[str, str]:
    """What every program of the yard is told. Paths are absolute: they start in another folder."""
    told = {
        "YARD_HOME": settings.absolute_home(),
        "YARD_GPU_PYTHON": settings.gpu_interpreter().absolute(),
        "YARD_TIERS_FILE": settings.tiers_file and settings.tiers_file.absolute(),
        "YARD_MODELS_FILE": settings.models_file and settings.models_file.absolute(),
        "YARD_DATABASE_URL": _secret(settings.database_url),
        "YARD_PREFECT_DATABASE_URL": _secret(settings.prefect_database_url),
        "YARD_PREFECT_AUTH": _secret(settings.prefect_auth),
    }
    return {
        **inherited_environment(),
        **prefect_environment(settings),
        **{name: str(value) for name, value in told.items() if value is not None},
        "PYTHONUNBUFFERED": "1",
    }


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


def _postgres(postgres: EmbeddedPostgres) -> Part:
    def answers(_: datetime) -> bool:
        try:
            postgres.create_database("yard")
            postgres.create_database("prefect")
        except psycopg.OperationalError:
            return False
        return True

    return Part(
        name="postgres",
        argv=postgres.argv(),
        env=ENVIRONMENT,
        user=postgres.spawn_user(),
        stop_signal=STOP_SIGNAL,
        grace_seconds=STOP_SECONDS_MAX,
        ready=answers,
    )


def _python(name: str, module: str, *arguments: str, env: Mapping[str, str], **how: Any) -> Part:
    """A module of ours. Started beside our packages, so that no other `api` can shadow them."""
    return Part(name=name, argv=[sys.executable, "-m", module, *arguments], env=env, cwd=PROJECT, **how)


def _prefect(settings: Settings, env: Mapping[str, str]) -> Part:
    at = ["--host", settings.prefect_host, "--port", str(settings.prefect_port)]
    return _python(
        *("prefect", "prefect", "server", "start", *at),
        env=env,
        ready=lambda _: _answers(f"{settings.prefect_api_url()}/health"),
        ready_within_seconds=PREFECT_SECONDS_MAX,
    )


def _smoke_model(settings: Settings, env: Mapping[str, str]) -> list[Part]:
    """The maker of the smoke model, unless it is there or the yard's models do without it."""
    folder = smoke.folder(settings.absolute_home())
    if folder.exists() or not _lists_smoke_model(settings.models_file):
        return []
    python = settings.gpu_interpreter()
    if not python.exists():
        raise CannotStart(
            f"The gpu environment's Python is not at {python}. Make the environment with"
            " `make setup-gpu`, or say where it is: YARD_GPU_PYTHON=/path/to/bin/python"
        )
    return [
        Part(
            name="smoke-model",
            argv=[str(python), "-m", "workers.training.smoke_model", str(folder)],
            env=env,
            cwd=PROJECT,
            once=True,
            ready_within_seconds=SMOKE_MODEL_SECONDS_MAX,
        )
    ]


def _lists_smoke_model(models_file: Path | None) -> bool:
    """Whether a model of the file has our source; the one that ships with the yard does."""
    if models_file is None:
        return True
    try:
        models = tomllib.loads(models_file.read_text())["models"].values()
        return any(model.get("source") == smoke.SOURCE for model in models)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CannotStart(f"YARD_MODELS_FILE={models_file} cannot be read: {error!r}") from None


def _api(settings: Settings, env: Mapping[str, str]) -> Part:
    """Ready when a batch sent now would run: it asks after all the others."""
    return _python(*("api", "api"), env=env, ready=lambda _: _answers(f"{settings.api_url()}/health/ready"))


def _worker(settings: Settings, env: Mapping[str, str], pool: str) -> Part:
    """A Prefect worker. Its name stays the same, so that it takes back what it left by a crash."""
    name = f"{socket.gethostname()}-{pool}"

    def beats(started_at: datetime) -> bool:
        return any(
            worker["name"] == name and datetime.fromisoformat(worker["last_heartbeat_time"]) > started_at
            for worker in _prefect_workers(settings, pool)
        )

    return _python(
        *(f"worker-{pool}", "flows.worker", "--pool", pool, "--name", name),
        env=env,
        ready=beats,
        grace_seconds=DRAIN_SECONDS,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=ANSWER_SECONDS_MAX, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _prefect_workers(settings: Settings, pool: str) -> list[dict[str, Any]]:
    """Prefect's records of a pool's workers (`name`, `last_heartbeat_time`), or none yet."""
    auth = None
    if settings.prefect_auth is not None:
        user, _, password = settings.prefect_auth.get_secret_value().partition(":")
        auth = httpx.BasicAuth(user, password)
    try:
        answer = httpx.post(
            f"{settings.prefect_api_url()}/work_pools/{pool}/workers/filter",
            json={},
            auth=auth,
            timeout=ANSWER_SECONDS_MAX,
            trust_env=False,
        )
    except httpx.HTTPError:
        return []
    workers: list[dict[str, Any]] = answer.json() if answer.status_code == 200 else []
    return workers
