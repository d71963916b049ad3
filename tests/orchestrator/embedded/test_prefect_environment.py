"""The variables that Prefect's programs are given."""

from pathlib import Path

import prefect.settings
import pytest
from pydantic import SecretStr

from orchestrator.embedded.prefect_environment import prefect_environment
from orchestrator.settings import Settings

NOT_SETTINGS = {
    "DO_NOT_TRACK",  # a custom that Prefect keeps to
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",  # a key of its logging.yml
}


def test_the_pinned_prefect_knows_every_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = prefect_environment(
        Settings(
            home=tmp_path,
            prefect_auth=SecretStr("user:password"),
            prefect_database_url=SecretStr("postgresql://u@h:1/prefect"),
        )
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    known = prefect.settings.Settings().to_environment_variables(exclude_unset=True, include_aliases=True)
    assert set(environment) - NOT_SETTINGS - set(known) == set()


def test_prefects_server_uses_the_database_by_its_own_driver() -> None:
    settings = Settings(prefect_database_url=SecretStr("postgresql://u:p@h:1/prefect"))
    environment = prefect_environment(settings)
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == ("postgresql+asyncpg://u:p@h:1/prefect")


def test_a_database_that_is_not_postgres_is_refused_without_repeating_its_password() -> None:
    settings = Settings(prefect_database_url=SecretStr("sqlite:///secret"))
    with pytest.raises(ValueError, match="expected postgresql") as refusal:
        prefect_environment(settings)
    assert "secret" not in str(refusal.value)


def test_server_and_clients_share_the_password_where_there_is_one() -> None:
    environment = prefect_environment(Settings(prefect_auth=SecretStr("user:password")))
    assert environment["PREFECT_API_AUTH_STRING"] == "user:password"
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == "user:password"
    assert "PREFECT_API_AUTH_STRING" not in prefect_environment(Settings())
