"""What is installed: this process's environment against its lock, and the gpu environment by asking it."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from orchestrator.settings import PROJECT

LOCK = PROJECT / "infra" / "locks" / "control.txt"  # not there where we were installed from a wheel
ESSENTIAL = ("prefect",)  # another version may not even start
PROBE_SECONDS_MAX = 180  # the first import of vLLM reads a gigabyte from disk

_PROBE = """
import json, torch, vllm
print(json.dumps({"vllm": vllm.__version__, "torch": torch.__version__, "gpus": torch.cuda.device_count()}))
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """One package that is not as locked. `installed` is None where it is missing."""

    package: str
    locked: str
    installed: str | None

    @property
    def breaks(self) -> bool:
        """Whether a yard cannot be expected to work with it."""
        return self.installed is None or self.package in ESSENTIAL

    def __str__(self) -> str:
        if self.installed is None:
            return f"{self.package} {self.locked} is missing"
        return f"{self.package} {self.installed} where {self.locked} is locked"


@dataclass(frozen=True, slots=True)
class GpuEnvironment:
    """What the gpu environment says of itself."""

    vllm: str
    torch: str
    gpus: int


def unlike_lock(lock: Path = LOCK) -> list[Difference]:
    """The packages of this environment that differ from the lock, the worst first."""
    differences = []
    for requirement in _locked(lock):
        [pin] = requirement.specifier
        installed = _installed(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            differences.append(Difference(requirement.name, pin.version, installed))
    return sorted(differences, key=lambda difference: (not difference.breaks, difference.package))


def probe_gpu(python: Path) -> GpuEnvironment | str:
    """Import vLLM there and ask what it found; a string is the reason why that failed."""
    try:
        probe = subprocess.run(
            [python, "-c", _PROBE],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"vLLM was not imported within {PROBE_SECONDS_MAX} s"
    except OSError as error:
        return error.strerror or str(error)
    if probe.returncode != 0:
        return "".join(probe.stderr.strip().splitlines()[-1:]) or f"ended with {probe.returncode}"
    return GpuEnvironment(**json.loads(probe.stdout.splitlines()[-1]))


def _locked(lock: Path) -> Iterator[Requirement]:
    """The pins of a lock file that hold for this Python and system."""
    if not lock.exists():
        return
    for line in lock.read_text("utf-8").splitlines():
        if line[:1].isalnum():  # else a hash or a comment
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
