"""The one reader of the environment. Every setting has the prefix `YARD_` (nested ones `YARD_S3__…`).

A composition root (`api/app.py`, `flows/*`, `api/cli/*`) calls `Settings()` once and passes values down;
nothing below it reads settings.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parent.parent


class S3Settings(BaseModel):
    """How to reach an S3-compatible store. Credentials come from boto3's own chain when left out."""

    model_config = {"frozen": True}

    endpoint_url: str | None = None  # default: AWS
    # Where customers reach the same server, for addresses that they download from. Left out, a
    # server with an `endpoint_url` is taken as private and downloads pass through the API.
    public_endpoint_url: str | None = None
    region: str = "us-east-1"
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    checksums: Literal["when_supported", "when_required"] = "when_supported"  # older: when_required
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None


class Settings(BaseSettings):
    """Read once at start, never changed."""

    model_config = SettingsConfigDict(
        env_prefix="YARD_", env_nested_delimiter="__", frozen=True, extra="ignore"
    )

    # Where an embedded yard keeps everything it makes.
    home: Path = Path(".yard")

    # What the parts need from each other. `yard up` fills these in for its children.
    database_url: SecretStr | None = None
    store_url: str | None = None  # file:///folder or s3://bucket/prefix; default: <home>/store
    s3: S3Settings = Field(default_factory=S3Settings)
    tiers_file: Path | None = None  # default: the tiers.toml that ships with the yard
    models_file: Path | None = None  # default: the models.toml that ships with the yard

    # The HTTP API.
    api_host: str = "127.0.0.1"
    api_port: int = 8000

    # Prefect. An address beyond loopback asks for `prefect_auth` (user:password).
    prefect_host: str = "127.0.0.1"
    prefect_port: int = 4200
    prefect_auth: SecretStr | None = None
    prefect_database_url: SecretStr | None = None

    # Engines.
    gpu_python: Path | None = None  # the gpu environment's interpreter; default: our .venv-gpu
    gpus: int | None = None  # slots of the gpu pool; default: what the machine has, one on a CPU
    cpu_slots: int = 200  # flow runs of the cpu pool at once: batches being driven, housekeeping
    engine_host: str = "127.0.0.1"

    # Trainers. Set these where the machine that reads datasets is not like the one that trains.
    training_device: Literal["cuda", "cpu"] | None = None  # default: what this machine has
    training_memory_gib: float | None = None  # of one GPU, or of the machine; default: what it says

    # Webhooks go to public addresses, over TLS. Where receivers are neighbours: to any, without TLS too.
    webhook_private_addresses: bool = False

    # A yard that somebody else runs, for the command line.
    base_url: str | None = None
    api_key: SecretStr | None = None

    def absolute_home(self) -> Path:
        """`home` as an absolute path."""
        return self.home.expanduser().resolve()

    def keys_file(self) -> Path:
        """Where `yard up` leaves the keys of its first organizations, by tier, and the operator's."""
        return self.absolute_home() / "demo_keys.json"

    def api_url(self) -> str:
        """Where this machine finds the HTTP API."""
        anywhere = self.api_host in ("0.0.0.0", "::")
        return f"http://{'127.0.0.1' if anywhere else self.api_host}:{self.api_port}"

    def prefect_api_url(self) -> str:
        """Where our own processes find Prefect's API."""
        return f"http://{self.prefect_host}:{self.prefect_port}/api"

    def prefect_ui_url(self) -> str:
        """Where a person finds Prefect's pages."""
        return f"http://{self.prefect_host}:{self.prefect_port}"

    def gpu_interpreter(self) -> Path:
        """The gpu environment's Python: as set, or `.venv-gpu` beside these packages."""
        return self.gpu_python or PROJECT / ".venv-gpu" / "bin" / "python"

    def has_cuda(self) -> bool:
        """Whether this machine has an NVIDIA GPU that its driver shows."""
        return Path("/dev/nvidia0").exists()

    def trains_on_cuda(self) -> bool:
        """Whether trainers have a GPU: as set, or as this machine has one."""
        return self.has_cuda() if self.training_device is None else self.training_device == "cuda"

    def gpu_slots(self) -> int:
        """How many engines or trainers run at once: as set, or the GPUs there are, or one on a CPU."""
        found = len(list(Path("/dev").glob("nvidia[0-9]*")))
        return self.gpus if self.gpus is not None else max(1, found)


def inherited_environment() -> dict[str, str]:
    """All that our own process was given, for children that must find what we find (PATH, proxies, CUDA)."""
    return dict(os.environ)
