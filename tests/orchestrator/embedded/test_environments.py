"""An environment against its lock."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.embedded.environments import LOCK, Difference, GpuEnvironment, probe_gpu, unlike_lock
from orchestrator.settings import Settings


def test_this_environment_is_as_locked() -> None:
    assert unlike_lock() == []


def test_prefect_is_locked_at_the_only_version_we_know() -> None:
    assert "\nprefect==3.8.8 " in LOCK.read_text()


def test_the_control_environment_has_no_torch() -> None:
    for lock in ("control", "dev"):
        assert "\ntorch==" not in LOCK.with_name(f"{lock}.txt").read_text()


def test_the_lock_for_a_cpu_has_nothing_of_cuda() -> None:
    lock = LOCK.with_name("gpu-cpu.txt").read_text()
    assert "\nnvidia-" not in lock
    assert "\ntorch==" not in lock
    assert "\ntorch==2.13.0+cpu" in LOCK.with_name("torch-cpu.txt").read_text()


@pytest.mark.parametrize("lock", ["control", "dev", "gpu-cpu", "gpu-cuda"])
def test_every_pin_has_a_hash_and_names_no_machine(lock: str) -> None:
    lines = LOCK.with_name(f"{lock}.txt").read_text().splitlines()
    pins = [number for number, line in enumerate(lines) if line[:1].isalnum()]
    assert len(pins) > 100
    assert all(lines[number + 1].startswith("    --hash=sha256:") for number in pins)
    assert not [line for line in lines if "://" in line or "--index" in line or "--find-links" in line]


def test_other_versions_are_found_and_missing_packages_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    pins = [
        "msgspec==0.0.1",
        "prefect==0.0.2",
        "zz-not-there==1.0",
        "pywin32==1 ; sys_platform == 'win32'",
        f"numpy=={metadata.version('numpy')}",
    ]
    lock.write_text("\n".join(f"{pin} \\\n    --hash=sha256:00" for pin in pins))
    assert unlike_lock(lock) == [
        Difference("prefect", "0.0.2", metadata.version("prefect")),
        Difference("zz-not-there", "1.0", None),
        Difference("msgspec", "0.0.1", metadata.version("msgspec")),
    ]
    assert [difference.breaks for difference in unlike_lock(lock)] == [True, True, False]


def test_an_environment_without_vllm_says_what_is_missing() -> None:
    probe = probe_gpu(Path(sys.executable))
    assert isinstance(probe, str)
    assert "No module named 'torch'" in probe


def test_a_python_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("not a program")
    assert probe_gpu(tmp_path / "python") == "Permission denied"


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_the_gpu_environment_imports_vllm() -> None:
    probe = probe_gpu(Settings().gpu_interpreter())
    assert isinstance(probe, GpuEnvironment), probe
    assert probe.torch.startswith("2.13.0")
