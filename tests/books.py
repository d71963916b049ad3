"""Whether the books of a running yard agree with what its customers can download."""

import asyncio

from orchestrator.ledger_rebuild import rebuild
from orchestrator.storage.local import LocalStore
from tests.yard_process import YardProcess


def assert_books_agree(yard: YardProcess) -> None:
    """Every charge and every balance, rebuilt from result files and checkpoints, is what the ledger has."""
    store, scratch = LocalStore(yard.home / "store"), yard.home / "scratch"
    found = asyncio.run(rebuild(yard.database, store, scratch=scratch))
    assert found.differences == []
    assert found.charges > 0
