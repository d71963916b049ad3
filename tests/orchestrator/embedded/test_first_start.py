import json
import stat
from pathlib import Path

import pytest
from sqlmodel import select

from orchestrator.database.session import Database
from orchestrator.embedded import first_start
from orchestrator.organizations import authentication
from orchestrator.organizations.model import Organization, Role


@pytest.fixture
def keys_file(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a first start on an empty database has left its keys."""
    monkeypatch.setenv("YARD_HOME", str(tmp_path))
    monkeypatch.setenv("YARD_DATABASE_URL", database_url)
    first_start.main()
    return tmp_path / "demo_keys.json"


def test_there_is_a_key_for_each_tier_and_one_for_the_operator(keys_file: Path, database: Database) -> None:
    keys = json.loads(keys_file.read_text())
    assert list(keys) == ["free", "developer", "enterprise", "operator"]
    with database.transaction() as tx:
        found = {name: authentication.authenticate(tx, key) for name, key in keys.items()}
    assert found["free"].tier == "free"
    assert found["developer"].role is Role.OWNER
    assert found["operator"].role is Role.OPERATOR


def test_only_their_owner_can_read_the_keys(keys_file: Path) -> None:
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    assert [path.name for path in keys_file.parent.iterdir()] == ["demo_keys.json"]


def test_the_next_start_leaves_the_keys_alone(keys_file: Path) -> None:
    before = keys_file.read_text()
    first_start.main()
    assert keys_file.read_text() == before


def test_whoever_removes_the_keys_gets_new_ones_for_the_same_organizations(
    keys_file: Path, database: Database
) -> None:
    before = json.loads(keys_file.read_text())
    keys_file.unlink()
    first_start.main()
    after = json.loads(keys_file.read_text())
    assert not set(before.values()) & set(after.values())
    with database.read() as tx:
        assert len(tx.exec(select(Organization)).all()) == len(after)


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first_start.write_private(path, "old")
    with pytest.raises(FileExistsError):
        first_start.write_private(path, "new")
    assert path.read_text() == "old"


def test_a_yard_in_production_gets_an_operator_s_key_and_no_file(
    database_url: str,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("YARD_HOME", str(tmp_path))
    monkeypatch.setenv("YARD_DATABASE_URL", database_url)
    first_start.main(operator_only=True)
    with database.transaction() as tx:
        principal = authentication.authenticate(tx, capsys.readouterr().out.strip())
        assert [o.name for o in tx.exec(select(Organization))] == ["operator"]
    assert principal.role is Role.OPERATOR
    assert list(tmp_path.iterdir()) == []
