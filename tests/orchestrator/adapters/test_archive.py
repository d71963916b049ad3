"""What a stranger's ZIP may be, and what comes of every other: a sentence, and nothing outside its folder."""

import io
import pickle
import random
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.adapters.archive import Packed, pack, unpack
from orchestrator.errors import Invalid
from tests.tiny_adapters import adapter_zip, lora_config, lora_tensors, safetensors, zipped

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ROOM = 1_000_000


def refusal(data: bytes, tmp_path: Path, *, room: int = ROOM) -> str:
    """What is said of this ZIP, once it is certain that nothing lies where it does not belong."""
    archive = tmp_path / "zip"
    archive.write_bytes(data)
    with pytest.raises(Invalid) as refused:
        unpack(archive, tmp_path / "out", weights_bytes_max=room)
    assert {path.name for path in tmp_path.iterdir()} <= {"zip", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {WEIGHTS, CONFIG}
    assert refused.value.param == "input_file_id"
    return refused.value.message


def with_member(change: zipfile.ZipInfo, data: bytes = b"{}") -> bytes:
    """A ZIP with one extraordinary member in place of its config."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(WEIGHTS, safetensors(lora_tensors()))
        archive.writestr(change, data)
    return packed.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_adapter_comes_out_as_it_went_in(tmp_path: Path, method: int):
    (tmp_path / "zip").write_bytes(adapter_zip(method=method))
    config = unpack(tmp_path / "zip", tmp_path / "out", weights_bytes_max=ROOM)
    assert config == lora_config()
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == safetensors(lora_tensors())


@pytest.mark.parametrize(
    "name",
    [
        f"../{WEIGHTS}",
        f"../../etc/{CONFIG}",
        f"/tmp/{CONFIG}",
        f"C:\\{CONFIG}",
        f"..\\{CONFIG}",
        f"a/{WEIGHTS}",
    ],
)
def test_a_path_that_climbs_or_nests_is_refused(tmp_path: Path, name: str):
    message = refusal(adapter_zip(**{name: b"x"}), tmp_path)
    assert "it has a member" in message


def test_files_in_a_folder_are_told_to_lie_at_the_top(tmp_path: Path):
    assert "in no folder" in refusal(zipped({f"mine/{WEIGHTS}": b"", f"mine/{CONFIG}": b""}), tmp_path)


def test_a_link_is_refused(tmp_path: Path):
    link = zipfile.ZipInfo(CONFIG)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "is a link" in refusal(with_member(link, b"/etc/passwd"), tmp_path)


@pytest.mark.parametrize("name", ["README.md", "adapter.zip", "tokenizer.json", "mine/"])
def test_a_member_too_many_is_named(tmp_path: Path, name: str):
    assert repr(name) in refusal(adapter_zip(**{name: b""}), tmp_path)


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_a_missing_member_is_named(tmp_path: Path, missing: str):
    (other,) = {WEIGHTS, CONFIG} - {missing}
    assert f"it has {missing} 0 times" in refusal(zipped({other: b"{}"}), tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice_is_refused(tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (WEIGHTS, CONFIG, CONFIG):
            archive.writestr(name, b"{}")
    assert f"it has {CONFIG} 2 times" in refusal(packed.getvalue(), tmp_path)


def test_a_pickle_under_its_own_name_is_refused(tmp_path: Path):
    data = zipped({"adapter_model.bin": pickle.dumps({}), CONFIG: b"{}"})
    assert "a pickle is a program" in refusal(data, tmp_path)


@pytest.mark.parametrize("weights", [pickle.dumps({"a": 1}), zipped({"archive/data.pkl": b"x"})])
def test_a_pickle_in_place_of_safetensors_is_refused(tmp_path: Path, weights: bytes):
    assert "is a pickle, not safetensors" in refusal(adapter_zip(weights=weights), tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path):
    data = bytearray(adapter_zip())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags_at] |= 1
    assert "is encrypted" in refusal(bytes(data), tmp_path)


def test_a_method_that_few_know_is_refused(tmp_path: Path):
    assert "other than deflate" in refusal(adapter_zip(method=zipfile.ZIP_LZMA), tmp_path)


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path):
    bomb = adapter_zip(weights=bytes(50_000_000))
    assert len(bomb) < 100_000
    assert "is 50,000,000 bytes unpacked" in refusal(bomb, tmp_path)


def test_a_bomb_that_declares_less_ends_at_its_word(tmp_path: Path):
    bomb = bytearray(adapter_zip(weights=bytes(50_000_000)))
    for signature, size_at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", bomb, bomb.index(signature) + size_at, 1000)
    tracemalloc.start()
    message = refusal(bytes(bomb), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "damaged" in message
    assert peak < 10_000_000
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 10_000


def test_a_list_of_a_hundred_thousand_members_is_not_read(tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(1000):
            archive.writestr(str(number), b"")
    assert "it lists 1,000 members" in refusal(packed.getvalue(), tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"not a zip at all" * 10, adapter_zip()[:-1], adapter_zip() + b"x"]
)
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes):
    assert "This is not the ZIP of an adapter" in refusal(data, tmp_path)


def test_bytes_before_the_first_member_are_refused(tmp_path: Path):
    assert "belong to no member" in refusal(b"#!/bin/sh\n" + adapter_zip(), tmp_path)


@pytest.mark.parametrize("config", [b"[]", b"{", b"\xff", b"[" * 100_000, b"null"])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, config: bytes):
    assert "is no JSON object" in refusal(adapter_zip(config=config), tmp_path)


def test_a_config_of_megabytes_is_refused(tmp_path: Path):
    assert "at most 1,048,576" in refusal(adapter_zip(config=b" " * 2_000_000), tmp_path)


def test_any_damage_is_a_sentence(tmp_path: Path):
    """Bytes changed at random are refused or make no difference; never another exception."""
    whole, chance, refused = adapter_zip(), random.Random(7), 0
    for turn in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "zip").write_bytes(data)
        try:
            unpack(tmp_path / "zip", tmp_path / str(turn), weights_bytes_max=ROOM)
        except Invalid:
            refused += 1
    assert 150 < refused < 300


async def test_a_packed_adapter_is_one_that_can_be_brought(tmp_path: Path):
    weights, config = safetensors(lora_tensors()), b"{}"

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    files = [Packed(name, len(data), chunks(data)) for name, data in ((CONFIG, config), (WEIGHTS, weights))]
    data = b"".join([chunk async for chunk in pack(files, modified_at=clock.now())])
    (tmp_path / "zip").write_bytes(data)
    assert unpack(tmp_path / "zip", tmp_path / "out", weights_bytes_max=ROOM) == {}
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == weights
