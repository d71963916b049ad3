from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.storage.local import LocalStore
from orchestrator.storage.open import open_store


def test_a_yard_keeps_its_objects_in_its_home_unless_told_otherwise(tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path))
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "store"


def test_a_file_address_names_a_folder(tmp_path: Path) -> None:
    store = open_store(Settings(store_url=f"file://{tmp_path}/with%20space"))
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "with space"
    assert store.root.is_dir()


@pytest.mark.parametrize(
    "address", ["", "store", "/store", "file://store", "file:store", "s3:///x", "http://host/yard"]
)
def test_an_address_that_names_no_store_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected YARD_STORE_URL"):
        open_store(Settings(store_url=address))


def test_a_prefix_that_no_key_can_begin_with_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a key"):
        open_store(Settings(store_url="s3://yard/a//b"))
