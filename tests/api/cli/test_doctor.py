import json

import pytest

from api.cli.exits import Exit
from orchestrator.embedded.doctor import Finding, Verdict
from tests.api.cli.conftest import Yard

FINE = Finding("Python", Verdict.OK, "3.11")
SLOW = Finding("memory", Verdict.WARN, "2 GiB", "A small engine takes 4 GiB.")
BROKEN = Finding("home", Verdict.FAIL, "read-only", "Choose another with YARD_HOME.")


def found(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr("api.cli.doctor.examine", lambda _settings: list(findings))


def test_a_yard_that_can_start_ends_with_0(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FINE, SLOW)
    result = yard("doctor")
    assert result.exit_code == Exit.OK
    assert "A small engine takes 4 GiB." in result.stdout


def test_a_yard_that_cannot_start_ends_with_1_and_advice(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FINE, BROKEN)
    result = yard("doctor")
    assert result.exit_code == Exit.FAILED
    assert "Choose another with YARD_HOME." in result.stdout


def test_findings_are_json_on_request(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, FINE)
    expected = {"name": "Python", "verdict": "ok", "found": "3.11", "advice": ""}
    assert json.loads(yard("doctor", "--json").stdout) == [expected]
