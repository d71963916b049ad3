"""What customers take home is what plain PEFT loads, and what PEFT saves is what they may bring."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.adapters import intake
from orchestrator.adapters.archive import Packed, pack
from orchestrator.adapters.model import CONFIG, WEIGHTS
from orchestrator.models.registry import ModelSpec
from orchestrator.settings import PROJECT, Settings
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from tests.tiny_adapters import spec_of, zipped

MAKE = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
base, folder = sys.argv[1:]
torch.manual_seed(7)
model = get_peft_model(
    AutoModelForCausalLM.from_pretrained(base),
    LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear",
               rank_pattern={"q_proj": 4}, init_lora_weights=False),
)
model.save_pretrained(folder)
print(model(torch.arange(3, 11)[None]).logits.sum(dtype=torch.float64).item())
"""
LOAD = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, folder = sys.argv[1:]
plain = AutoModelForCausalLM.from_pretrained(base)
before = plain(torch.arange(3, 11)[None]).logits.sum(dtype=torch.float64).item()
model = PeftModel.from_pretrained(plain, folder)
after = model(torch.arange(3, 11)[None]).logits.sum(dtype=torch.float64).item()
assert before != after
print(after)
"""


def in_gpu_environment(program: str, *arguments: Path) -> str:
    """The last line that the program prints, run where torch and PEFT are."""
    command = [str(Settings().gpu_interpreter()), "-W", "ignore", "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


@pytest.fixture
def spec(smoke_model: Path) -> ModelSpec:
    return spec_of(str(smoke_model))


@pytest.mark.engine
async def test_an_adapter_survives_the_way_in_and_out(
    tmp_path: Path, store: LocalStore, smoke_model: Path, spec: ModelSpec
):
    """Made by PEFT, brought, downloaded, loaded by plain PEFT: the same logits, bit for bit."""
    made = in_gpu_environment(MAKE, smoke_model, tmp_path / "made")
    members = {name: (tmp_path / "made" / name).read_bytes() for name in (WEIGHTS, CONFIG)}
    await store.put("org_a/files/f/content", zipped(members))
    (tmp_path / "scratch").mkdir()
    stored, card = await intake.take_in(
        store,
        "org_a/files/f/content",
        organization_id="org_a",
        import_id="ft_1",
        file_id="file-1",
        spec=spec,
        bytes_max=10**9,
        scratch=tmp_path / "scratch",
    )
    assert (stored.rank, card["lora"]["lora_alpha"]) == (8, 16)
    files = []
    for name in (CONFIG, WEIGHTS):
        key = keys.adapter_file(stored.key_prefix, name)
        files.append(Packed(name, len(members[name]), store.get_stream(key)))
    packed = b"".join([chunk async for chunk in pack(files, modified_at=clock.now())])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "home")
    assert in_gpu_environment(LOAD, smoke_model, tmp_path / "home") == made
