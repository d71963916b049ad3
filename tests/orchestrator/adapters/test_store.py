"""An adapter's bytes: sent once to the store, whole in every cache."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.adapters.store import AdapterDamaged, fetch_adapter, put_adapter
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from orchestrator.storage.store import ObjectMissing
from tests.tiny_adapters import lora_config, unpacked

CARD = {"base_model": "yard-smoke", "lora": {"r": 4}, "seed": 7, "evil": "a|b<script>\n# c"}
FILES = ("adapter_model.safetensors", "adapter_config.json")


class CountingStore(LocalStore):
    """A store that counts what it is sent."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts = 0

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], **how: str):  # type: ignore[no-untyped-def, override]
        self.puts += 1
        return await super().put_stream(key, chunks, **how)


async def test_the_same_bytes_are_sent_once(tmp_path: Path):
    store = CountingStore(tmp_path / "store")
    first = await put_adapter(store, "org_a", "ft_1", unpacked(tmp_path / "1"), CARD)
    again = await put_adapter(store, "org_a", "ft_1", unpacked(tmp_path / "2"), CARD)
    assert (first, store.puts) == (again, 4)
    found = [listed.key async for listed in store.list("")]
    names = ("README.md", "adapter_config.json", "adapter_model.safetensors", "card.json")
    assert found == [f"org_a/adapters/{first.digest}/ft_1/{name}" for name in names]
    assert (first.rank, first.target_modules) == (4, ("q_proj",))
    assert first.bytes == sum((tmp_path / "1" / name).stat().st_size for name in FILES)


async def test_another_config_source_or_organization_is_another_object(tmp_path: Path, store: LocalStore):
    folder = unpacked(tmp_path / "1")
    other = unpacked(tmp_path / "2", config=lora_config(lora_alpha=9))
    stored = [await put_adapter(store, "org_a", "ft_1", each, CARD) for each in (folder, other)]
    stored.append(await put_adapter(store, "org_a", "ft_2", folder, CARD))
    stored.append(await put_adapter(store, "org_b", "ft_1", folder, CARD))
    assert len({each.key_prefix for each in stored}) == 4
    assert stored[0].digest == stored[2].digest == stored[3].digest


async def test_the_card_beside_it_is_for_people_too(tmp_path: Path, store: LocalStore):
    stored = await put_adapter(store, "org_a", "ft_1", unpacked(tmp_path / "1"), CARD)
    readme = (await store.get(keys.adapter_file(stored.key_prefix, "README.md"), size_max=10_000)).decode()
    assert readme.startswith('---\nbase_model: "yard-smoke"\nlibrary_name: peft\n')
    assert "| lora.r | 4 |" in readme
    assert "| evil | a\\|b&lt;script> # c |" in readme


async def test_what_is_fetched_is_whole_and_fetched_once(tmp_path: Path, store: LocalStore):
    folder, cache = unpacked(tmp_path / "1"), tmp_path / "cache"
    stored = await put_adapter(store, "org_a", "ft_1", folder, CARD)
    home = await fetch_adapter(store, stored, cache)
    assert home == cache / stored.digest
    for name in FILES:
        assert (home / name).read_bytes() == (folder / name).read_bytes()
    await store.delete([listed.key async for listed in store.list("")])
    assert await fetch_adapter(store, stored, cache) == home
    assert [path.name for path in cache.iterdir()] == [stored.digest]


async def test_damaged_bytes_are_never_in_the_cache(tmp_path: Path, store: LocalStore):
    stored = await put_adapter(store, "org_a", "ft_1", unpacked(tmp_path / "1"), CARD)
    await store.put(keys.adapter_file(stored.key_prefix, "adapter_config.json"), b"{}")
    with pytest.raises(AdapterDamaged):
        await fetch_adapter(store, stored, tmp_path / "cache")
    await store.delete([keys.adapter_file(stored.key_prefix, "adapter_model.safetensors")])
    with pytest.raises(ObjectMissing):
        await fetch_adapter(store, stored, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


async def test_many_may_fetch_the_same_at_once(tmp_path: Path, store: LocalStore):
    stored = await put_adapter(store, "org_a", "ft_1", unpacked(tmp_path / "1"), CARD)
    fetched = await asyncio.gather(*(fetch_adapter(store, stored, tmp_path / "cache") for _ in range(8)))
    assert set(fetched) == {tmp_path / "cache" / stored.digest}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [stored.digest]
