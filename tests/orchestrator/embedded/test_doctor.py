"""What `yard doctor` finds on machines that lack one thing each."""

import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra import s3_server
from orchestrator.embedded import doctor, environments, lock
from orchestrator.embedded.doctor import Finding, Verdict, examine
from orchestrator.embedded.environments import Difference, GpuEnvironment
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.models import smoke
from orchestrator.settings import S3Settings, Settings

REMOTE_MODEL = """
[models."far"]
url = "http://fleet"
context_length = 4096
endpoints = ["/v1/chat/completions"]
input_price = 1
cached_input_price = 1
output_price = 1
"""


@pytest.fixture(autouse=True)
def environments_as_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking the real ones takes seconds; `test_environments.py` does."""
    answer = GpuEnvironment(vllm="0.32.0", torch="2.13.0", gpus=0)
    monkeypatch.setattr(environments, "probe_gpu", lambda python: answer)
    monkeypatch.setattr(environments, "unlike_lock", lambda: [])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A yard of its own, with a gpu interpreter that exists and ports that are free."""
    return Settings(
        home=tmp_path / "yard", gpu_python=Path(sys.executable), api_port=_free(), prefect_port=_free()
    )


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_machine_after_setup_has_nothing_that_fails(settings: Settings) -> None:
    findings = examine(settings)
    assert [finding for finding in findings if finding.verdict is Verdict.FAIL] == []
    assert not settings.absolute_home().exists(), "a look makes nothing"


def test_whatever_is_not_well_has_advice(settings: Settings, taken_port: int, tmp_path: Path) -> None:
    changed = {
        "api_port": taken_port,
        "gpu_python": tmp_path / "nowhere",
        "store_url": "ftp://host",
        "database_url": SecretStr(f"postgresql://127.0.0.1:{_free()}/yard"),
        "models_file": tmp_path / "none.toml",
    }
    findings = examine(settings.model_copy(update=changed))
    troubled = {finding.name for finding in findings if finding.verdict is Verdict.FAIL}
    assert troubled >= {"API's port", "gpu environment", "object store", "database", "models"}
    for finding in findings:
        assert (finding.advice != "") == (finding.verdict is not Verdict.OK), finding


def test_a_port_that_is_taken_names_its_setting(settings: Settings, taken_port: int) -> None:
    finding = _find("Prefect's port", settings.model_copy(update={"prefect_port": taken_port}))
    assert finding.verdict is Verdict.FAIL
    assert str(taken_port) in finding.found
    assert "YARD_PREFECT_PORT" in finding.advice


def test_a_port_that_our_own_yard_holds_is_well(settings: Settings, taken_port: int) -> None:
    settings = settings.model_copy(update={"api_port": taken_port})
    settings.absolute_home().mkdir()
    with lock.hold(settings.absolute_home(), api_url="http://here"):
        finding = _find("API's port", settings)
    assert finding.verdict is Verdict.OK
    assert "http://here" in finding.found


def test_another_version_is_a_warning_and_a_missing_package_is_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = [Difference("rich", "14.0", "13.9")]
    monkeypatch.setattr(environments, "unlike_lock", lambda: differences)
    finding = _find("control environment", settings)
    assert finding.verdict is Verdict.WARN
    assert finding.found == "rich 13.9 where 14.0 is locked"

    differences.append(Difference("httpx", "0.28", None))
    finding = _find("control environment", settings)
    assert finding.verdict is Verdict.FAIL
    assert "httpx 0.28 is missing" in finding.found
    assert "make setup" in finding.advice


def test_a_missing_gpu_environment_says_how_to_make_it(settings: Settings, tmp_path: Path) -> None:
    finding = _find("gpu environment", settings.model_copy(update={"gpu_python": tmp_path / "python"}))
    assert finding.verdict is Verdict.FAIL
    assert "make setup-gpu" in finding.advice


def test_a_broken_gpu_environment_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "probe_gpu", lambda python: "No module named 'vllm'")
    finding = _find("gpu environment", settings)
    assert finding.verdict is Verdict.FAIL
    assert "No module named 'vllm'" in finding.found


def test_a_gpu_that_torch_does_not_see_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "has_cuda", lambda self: True)
    assert _find("gpu environment", settings).verdict is Verdict.WARN


def test_a_yard_of_remote_models_needs_no_gpu_environment(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(REMOTE_MODEL)
    remote = {"models_file": tmp_path / "models.toml", "gpu_python": tmp_path / "nowhere"}
    findings = {finding.name: finding for finding in examine(settings.model_copy(update=remote))}
    assert findings["gpu environment"].verdict is Verdict.OK
    assert findings["smoke model"].found == "not listed"


def test_the_smoke_model_is_found_once_it_is_made(settings: Settings) -> None:
    assert "not made yet" in _find("smoke model", settings).found
    folder = smoke.folder(settings.absolute_home())
    folder.mkdir(parents=True)
    assert _find("smoke model", settings).found == str(folder)


def test_a_home_below_a_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = _find("home", settings.model_copy(update={"home": tmp_path / "file" / "yard"}))
    assert finding.verdict is Verdict.FAIL
    assert "YARD_HOME" in finding.advice


@pytest.mark.parametrize(("free_gib", "verdict"), [(0.5, Verdict.FAIL), (2, Verdict.WARN), (50, Verdict.OK)])
def test_the_disk_is_judged_by_what_is_free(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free_gib: float, verdict: Verdict
) -> None:
    usage = shutil.disk_usage("/")._replace(free=int(free_gib * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert _find("disk", settings).verdict is verdict


def test_memory_is_what_is_available_not_what_is_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  16000000 kB\nMemAvailable:   2097152 kB\n")
    monkeypatch.setattr(doctor, "MEMINFO", meminfo)
    finding = _find("memory", settings)
    assert finding.verdict is Verdict.WARN
    assert finding.found == "2.0 GiB available"


def test_a_database_that_is_given_is_asked(settings: Settings, postgres: EmbeddedPostgres) -> None:
    url = SecretStr(postgres.url("postgres"))
    given = settings.model_copy(update={"database_url": url, "prefect_database_url": url})
    findings = {finding.name: finding for finding in examine(given)}
    assert findings["database"].verdict is Verdict.OK
    assert findings["Prefect's database"].found.endswith("answers")
    assert "Postgres" not in findings, "the programs are not needed then"


def test_an_s3_server_that_is_not_there_is_found_missing(settings: Settings) -> None:
    nowhere = S3Settings(
        endpoint_url=f"http://127.0.0.1:{_free()}", access_key_id="a", secret_access_key=SecretStr("b")
    )
    finding = _find("object store", settings.model_copy(update={"store_url": "s3://yard", "s3": nowhere}))
    assert finding.verdict is Verdict.FAIL


def test_an_s3_server_that_answers_is_well(settings: Settings, tmp_path: Path) -> None:
    with s3_server.running(tmp_path) as url:
        s3 = S3Settings(endpoint_url=url, access_key_id="a", secret_access_key=SecretStr("b"))
        finding = _find("object store", settings.model_copy(update={"store_url": "s3://yard", "s3": s3}))
    assert finding == Finding("object store", Verdict.OK, "s3://yard")


def _find(name: str, settings: Settings) -> Finding:
    [finding] = [finding for finding in examine(settings) if finding.name == name]
    return finding


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
