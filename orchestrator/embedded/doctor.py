"""Whether there can be a yard on this machine, what was looked at, and what to do about the rest.

Looks only; nothing is installed, started or repaired. (A missing S3 bucket is made, as any start does.)
"""

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
from pydantic import SecretStr

from orchestrator.embedded import environments, lock
from orchestrator.embedded.postgres_programs import EmbeddedPostgresError, find_programs
from orchestrator.models import smoke
from orchestrator.models.registry import ModelSpec, Registry
from orchestrator.settings import Settings
from orchestrator.storage.open import open_store
from orchestrator.storage.store import StoreUnavailable

PYTHON_MIN = (3, 11)
GIB = 2**30
DISK_BYTES_MIN, DISK_BYTES_EASY = 1 * GIB, 5 * GIB
MEMORY_BYTES_EASY = 6 * GIB  # a small engine on a CPU takes 4, the rest of a yard 1.5
CONNECT_SECONDS_MAX = 5
MEMINFO = Path("/proc/meminfo")


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # a yard starts, but something will be slow, small or missing
    FAIL = "fail"  # a yard does not start, or cannot run a batch


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `advice` is what to do about it, empty when all is well."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Everything a yard needs, in the order in which it needs it. Blocks for some seconds: it
    imports vLLM in the gpu environment and asks the servers that the settings name."""
    home = settings.absolute_home()
    try:
        models = Registry.load(settings.models_file, home=home).all()
        listed = Finding("models", Verdict.OK, ", ".join(spec.id for spec in models))
    except ValueError as error:
        models = []
        listed = Finding("models", Verdict.FAIL, str(error), "Correct the file that YARD_MODELS_FILE names.")
    return [
        _python(),
        _control_environment(),
        listed,
        _gpu_environment(settings, models),
        _smoke_model(home, models),
        _home(home),
        _disk(home),
        _memory(),
        *_databases(settings),
        _store(settings),
        _port("API", settings.api_host, settings.api_port, "YARD_API_PORT", home),
        _port("Prefect", settings.prefect_host, settings.prefect_port, "YARD_PREFECT_PORT", home),
    ]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= PYTHON_MIN:
        return Finding("Python", Verdict.OK, found)
    return Finding(
        "Python",
        Verdict.FAIL,
        found,
        "Python 3.11 or newer is needed: remove .venv, then `make setup PYTHON=/path/to/python3.12`.",
    )


def _control_environment() -> Finding:
    name = "control environment"
    differences = environments.unlike_lock()
    if not differences:
        return Finding(name, Verdict.OK, f"as locked, {sys.prefix}")
    shown = "; ".join(map(str, differences[:3])) + ("; …" if len(differences) > 3 else "")
    broken = any(difference.breaks for difference in differences)
    return Finding(name, Verdict.FAIL if broken else Verdict.WARN, shown, "Run `make setup`.")


def _gpu_environment(settings: Settings, models: list[ModelSpec]) -> Finding:
    name = "gpu environment"
    if models and all(spec.url for spec in models):
        return Finding(name, Verdict.OK, "not needed: every model runs elsewhere")
    python = settings.gpu_interpreter()
    if not python.exists():
        return Finding(
            name,
            Verdict.FAIL,
            f"there is no {python}",
            "Run `make setup-gpu`, or set YARD_GPU_PYTHON to a Python that has vLLM.",
        )
    probe = environments.probe_gpu(python)
    if isinstance(probe, str):
        return Finding(name, Verdict.FAIL, f"{python}: {probe}", "Run `make setup-gpu`.")
    found = f"vLLM {probe.vllm}, torch {probe.torch}, " + (f"{probe.gpus} GPUs" if probe.gpus else "no GPU")
    if settings.has_cuda() and not probe.gpus:
        return Finding(
            name,
            Verdict.WARN,
            f"{found}, though this machine has one",
            "Remove .venv-gpu and run `make setup-gpu`; if it stays, look at the driver with `nvidia-smi`.",
        )
    return Finding(name, Verdict.OK, found)


def _smoke_model(home: Path, models: list[ModelSpec]) -> Finding:
    name = "smoke model"
    folder = smoke.folder(home)
    if not any(spec.source == str(folder) for spec in models):
        return Finding(name, Verdict.OK, "not listed")
    if folder.is_dir():
        return Finding(name, Verdict.OK, str(folder))
    return Finding(name, Verdict.OK, "not made yet: the first `yard up` does it, in about a minute")


def _home(home: Path) -> Finding:
    there = _nearest(home)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding("home", Verdict.OK, str(home) if there == home else f"{home}, to be made")
    return Finding(
        "home",
        Verdict.FAIL,
        f"{there} is no folder that we may write to",
        "Set YARD_HOME to a folder of yours.",
    )


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(_nearest(home)).free
    found = f"{free / GIB:.1f} GiB free"
    advice = "Make room, or set YARD_HOME to a folder on a larger disk; files and results are kept there."
    if free < DISK_BYTES_MIN:
        return Finding("disk", Verdict.FAIL, found, advice)
    if free < DISK_BYTES_EASY:
        return Finding("disk", Verdict.WARN, found, advice)
    return Finding("disk", Verdict.OK, found)


def _memory() -> Finding:
    available = available_memory_bytes()
    found = f"{available / GIB:.1f} GiB available"
    if available < MEMORY_BYTES_EASY:
        return Finding("memory", Verdict.WARN, found, "An engine on a CPU takes 4 GiB: close other programs.")
    return Finding("memory", Verdict.OK, found)


def available_memory_bytes() -> int:
    """What new programs may take without swapping; where the system does not tell, all there is."""
    if MEMINFO.exists():
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _databases(settings: Settings) -> list[Finding]:
    given = [
        ("database", "YARD_DATABASE_URL", settings.database_url),
        ("Prefect's database", "YARD_PREFECT_DATABASE_URL", settings.prefect_database_url),
    ]
    findings = [_database(name, variable, url) for name, variable, url in given if url is not None]
    if len(findings) < len(given):
        findings.append(_postgres_programs())
    return findings


def _database(name: str, variable: str, url: SecretStr) -> Finding:
    # SQLAlchemy's spelling names a driver, which libpq does not know.
    address = url.get_secret_value().replace("+psycopg", "").replace("+asyncpg", "")
    try:
        with psycopg.connect(address, connect_timeout=CONNECT_SECONDS_MAX) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        first_line = str(error).strip().partition("\n")[0]
        return Finding(name, Verdict.FAIL, first_line, f"Start that Postgres, or correct {variable}.")
    return Finding(name, Verdict.OK, f"Postgres {version} answers")


def _postgres_programs() -> Finding:
    try:
        return Finding("Postgres", Verdict.OK, f"programs in {find_programs()}")
    except EmbeddedPostgresError as error:
        return Finding("Postgres", Verdict.FAIL, "no programs", str(error))


def _store(settings: Settings) -> Finding:
    if settings.store_url is None:
        return Finding("object store", Verdict.OK, "a folder in the home")
    try:
        open_store(settings)
    except (OSError, StoreUnavailable, ValueError) as error:
        return Finding("object store", Verdict.FAIL, str(error), "Correct YARD_STORE_URL or YARD_S3__….")
    return Finding("object store", Verdict.OK, settings.store_url)


def _port(name: str, host: str, port: int, variable: str, home: Path) -> Finding:
    label = f"{name}'s port"
    try:
        with socket.create_server((host, port)):
            return Finding(label, Verdict.OK, f"{port} is free")
    except OSError as error:
        holder = lock.holder(home)
        if holder is not None:
            return Finding(label, Verdict.OK, f"{port}: the yard of this home is up ({holder})")
        reason = error.strerror or str(error)
        return Finding(
            label, Verdict.FAIL, f"{host}:{port}: {reason}", f"Stop what listens there, or set {variable}."
        )


def _nearest(folder: Path) -> Path:
    """The folder, or what there is of the path to it."""
    return next(place for place in (folder, *folder.parents) if place.exists())
