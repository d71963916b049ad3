"""A status changes through one door."""

import ast

from tests.architecture import PACKAGES, ROOT, source_files

# The queue moves its own rows, each locked by the statement that found it: the lease is their machine.
QUEUE = ROOT / "orchestrator" / "jobs" / "service.py"


def test_nothing_assigns_a_status_but_the_state_machine_and_the_queue():
    assigned = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in source_files(*PACKAGES)
        if path != QUEUE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and target.attr == "status"
        if not (isinstance(target.value, ast.Name) and target.value.id == "self")
    ]
    assert not assigned
