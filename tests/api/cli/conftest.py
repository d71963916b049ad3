"""The command, run in this process against a scripted API."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli import watch
from api.cli.main import app
from tests.api.cli.scripted import ScriptedApi, serving

Yard = Callable[..., Result]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedApi]:
    """A yard at YARD_BASE_URL, whose customer has a key."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.0)
    monkeypatch.setenv("YARD_HOME", str(tmp_path))
    monkeypatch.setenv("YARD_API_KEY", "the-key")
    with serving() as scripted:
        monkeypatch.setenv("YARD_BASE_URL", f"{scripted.url}/v1")
        yield scripted


@pytest.fixture
def yard() -> Yard:
    """`yard("batch", "list")` is `yard batch list`, with nobody at the terminal."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])
