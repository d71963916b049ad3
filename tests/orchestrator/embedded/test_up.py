"""What `yard up` sees to before anything starts. The parts themselves are stand-ins that live."""

import socket
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.embedded import lock, parts, up
from orchestrator.embedded.parts import CannotStart
from orchestrator.embedded.supervisor import Part, PartState, PartStatus
from orchestrator.embedded.up import Addresses
from orchestrator.settings import Settings, inherited_environment

pytestmark = pytest.mark.server

GIVEN = {
    "database_url": SecretStr("postgresql://somewhere/yard"),
    "prefect_database_url": SecretStr("postgresql://somewhere/prefect"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings(home: Path, **changes: object) -> Settings:
    ports = {"api_port": free_port(), "prefect_port": free_port()}
    return Settings.model_validate({"home": home, **ports, **GIVEN, **changes})


def run(given: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Addresses, Settings]:
    """Bring up one sleeping stand-in, and take it down when it is ready."""
    seen: list[Settings] = []

    def stand_in(told: Settings, _postgres: object) -> list[list[Part]]:
        seen.append(told)
        code = "import signal; signal.pause()"
        argv = [sys.executable, "-S", "-c", code]
        return [[Part(name="sleeper", argv=argv, env=inherited_environment())]]

    monkeypatch.setattr(up, "stages", stand_in)
    until = threading.Event()
    ready: list[Addresses] = []
    heard: list[Sequence[PartStatus]] = []

    def note(addresses: Addresses) -> None:
        ready.append(addresses)
        until.set()

    up.up(given, until=until, changed=heard.append, ready=note)
    assert [status.state for status in heard[-1]] == [PartState.STOPPED]
    return ready[0], seen[0]


def test_the_home_is_private_and_named_when_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path / "home")
    addresses, _ = run(given, monkeypatch)
    assert addresses.api == f"http://127.0.0.1:{given.api_port}"
    assert addresses.keys_file == tmp_path / "home" / "demo_keys.json"
    assert not stat.S_IMODE((tmp_path / "home").stat().st_mode) & 0o066
    assert addresses.notes == []


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", given.prefect_port))
        other.listen()
        with pytest.raises(CannotStart, match=f"YARD_PREFECT_PORT={given.prefect_port + 1}"):
            up.up(given, until=threading.Event(), changed=print, ready=print)


def test_a_second_yard_on_one_home_is_refused(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with (
        lock.hold(tmp_path, api_url="http://first"),
        pytest.raises(lock.AlreadyUp, match="answering at http://first"),
    ):
        up.up(given, until=threading.Event(), changed=print, ready=print)


def test_one_database_of_two_is_not_enough(tmp_path: Path) -> None:
    given = settings(tmp_path, prefect_database_url=None)
    with pytest.raises(CannotStart, match="YARD_PREFECT_DATABASE_URL"):
        up.up(given, until=threading.Event(), changed=print, ready=print)


def test_prefect_beyond_this_machine_gets_credentials_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(tmp_path, prefect_host="0.0.0.0")
    addresses, told = run(given, monkeypatch)
    kept = tmp_path / "prefect_auth"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert told.prefect_auth == SecretStr(kept.read_text())
    assert str(kept) in addresses.notes[0]
    _, told_again = run(given, monkeypatch)
    assert told_again.prefect_auth == told.prefect_auth


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    [schema] = parts.stages(settings(tmp_path, models_file=_no_smoke(tmp_path)), None)[1]
    return schema.env


def _no_smoke(folder: Path) -> Path:
    path = folder / "models.toml"
    path.write_text('[models.m]\nurl = "http://elsewhere"\n')
    return path


def test_programs_are_told_everything_by_their_environment(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    assert environment["YARD_HOME"] == str(tmp_path)
    assert environment["YARD_DATABASE_URL"] == "postgresql://somewhere/yard"
    assert environment["YARD_MODELS_FILE"] == str(tmp_path / "models.toml")
    assert environment["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"


def test_the_smoke_model_is_made_only_where_it_is_listed(tmp_path: Path) -> None:
    def names(**changes: object) -> list[str]:
        found = parts.stages(settings(tmp_path, gpu_python=sys.executable, **changes), None)
        return [part.name for stage in found for part in stage]

    assert "smoke-model" in names()
    assert "smoke-model" not in names(models_file=_no_smoke(tmp_path))


def test_a_missing_gpu_environment_is_named_before_anything_starts(tmp_path: Path) -> None:
    given = settings(tmp_path, gpu_python=tmp_path / "nowhere")
    with pytest.raises(CannotStart, match="YARD_GPU_PYTHON"):
        parts.stages(given, None)
