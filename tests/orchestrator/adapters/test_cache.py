"""The cache of adapters on a machine stays within its bound."""

import os
from pathlib import Path

from orchestrator import clock
from orchestrator.adapters.cache import prune, touch


def cached(cache: Path, name: str, *, asked: int) -> Path:
    folder = cache / name
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
    os.utime(folder, (asked, asked))
    return folder


def test_nothing_goes_while_all_fit(tmp_path: Path) -> None:
    cached(tmp_path, "a", asked=1)
    assert prune(tmp_path, in_use=(), bytes_max=100) == []


def test_who_was_asked_for_longest_ago_goes_first(tmp_path: Path) -> None:
    for asked, name in enumerate("abc"):
        cached(tmp_path, name, asked=asked)
    touch(tmp_path / "a")
    assert prune(tmp_path, in_use=(), bytes_max=200) == ["b"]
    assert {folder.name for folder in tmp_path.iterdir()} == {"a", "c"}


def test_what_is_in_use_or_on_its_way_stays_whatever_the_bound(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cached(tmp_path, name, asked=1)
    cached(tmp_path, ".unfinished-c", asked=clock.unix(clock.now()))
    assert prune(tmp_path, in_use={"a"}, bytes_max=0) == ["b"]
    assert {folder.name for folder in tmp_path.iterdir()} == {"a", ".unfinished-c"}


def test_what_a_killed_fetch_left_goes_after_a_day(tmp_path: Path) -> None:
    cached(tmp_path, ".unfinished-c", asked=clock.unix(clock.now()) - 25 * 3600)
    assert prune(tmp_path, in_use=()) == []
    assert list(tmp_path.iterdir()) == []
