"""What trainers have to work with: a GPU's memory, or else the machine's."""

import os
import subprocess
from dataclasses import dataclass
from typing import Literal

MIB, GIB = 1 << 20, 1 << 30
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
NVIDIA_SMI_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Machine:
    """`memory_bytes` are those of one GPU, the smallest there is, or of the machine where there is none."""

    cuda: bool
    memory_bytes: int

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """Of the base's weights: on a CPU a training can then be repeated bit for bit."""
        return "bfloat16" if self.cuda else "float32"


def machine(*, cuda: bool, memory_gib: float | None) -> Machine:
    """`memory_gib` as the settings have it, or what this machine says. Raises OSError where a GPU is expected
    and nvidia-smi does not tell."""
    if memory_gib is not None:
        return Machine(cuda, int(memory_gib * GIB))
    return Machine(cuda, _gpu_memory() if cuda else _machine_memory())


def _gpu_memory() -> int:
    try:
        said = subprocess.run(
            NVIDIA_SMI, capture_output=True, text=True, check=True, timeout=NVIDIA_SMI_SECONDS_MAX
        )
        return min(int(line) for line in said.stdout.split()) * MIB
    except (subprocess.SubprocessError, ValueError) as error:
        raise OSError(
            "nvidia-smi does not tell how much memory the GPUs have; set YARD_TRAINING_MEMORY_GIB"
        ) from error


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
