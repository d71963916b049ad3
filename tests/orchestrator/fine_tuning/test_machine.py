import subprocess
from typing import Any

import pytest

from orchestrator.fine_tuning.machine import GIB, MIB, Machine, machine


def test_what_is_set_counts():
    assert machine(cuda=True, memory_gib=1.5) == Machine(cuda=True, memory_bytes=3 * GIB // 2)


def test_a_machine_without_a_gpu_says_its_memory():
    found = machine(cuda=False, memory_gib=None)
    assert found.dtype == "float32"
    assert found.memory_bytes > 100 * MIB


def test_of_several_gpus_the_smallest_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "81559\n46068\n")
    )
    assert machine(cuda=True, memory_gib=None) == Machine(cuda=True, memory_bytes=46_068 * MIB)


def test_gpus_that_do_not_tell_name_the_setting(monkeypatch: pytest.MonkeyPatch):
    def run(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(OSError, match="YARD_TRAINING_MEMORY_GIB"):
        machine(cuda=True, memory_gib=None)
