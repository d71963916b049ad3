"""What ARCHITECTURE.md says and code could contradict."""

import re
from typing import Any

import pytest

from orchestrator.batches.states import BATCH
from orchestrator.engines.model import ENGINE
from orchestrator.fine_tuning.states import FINE_TUNING
from orchestrator.state_machine import StateMachine
from orchestrator.uploads.model import UPLOAD
from tests.architecture import ROOT

MACHINES: list[StateMachine[Any, Any]] = [BATCH, UPLOAD, ENGINE, FINE_TUNING]
DIAGRAM = re.compile(r"^### (\w+)\n\n```mermaid\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:api|flows|infra|orchestrator|tests|workers)/[\w./-]*)`")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_diagram_shows_the_machine(machine: StateMachine[Any, Any]):
    diagrams = dict(DIAGRAM.findall((ROOT / "ARCHITECTURE.md").read_text()))
    assert diagrams[machine.name] == machine.to_mermaid()


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_every_path_that_a_page_names_exists(page: str):
    paths = PATH.findall((ROOT / page).read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []
