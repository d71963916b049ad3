"""The table of what engines serve, held against vLLM's own check in its own environment."""

import json
import subprocess
from typing import Any

import pytest

from orchestrator.adapters import servable
from orchestrator.errors import Invalid
from orchestrator.settings import PROJECT, Settings
from tests.tiny_adapters import lora_config, spec_of

RANK_MAX = 8

JUDGE = """
import json, sys
from types import SimpleNamespace
from vllm.lora.peft_helper import PEFTHelper
limits = SimpleNamespace(max_lora_rank=int(sys.argv[1]))
verdicts = []
for config in json.load(sys.stdin):
    try:
        PEFTHelper.from_dict(config).validate_legal(limits)
        verdicts.append(True)
    except (ValueError, TypeError):
        verdicts.append(False)
print(json.dumps(verdicts))
"""

AS_VLLM: list[dict[str, Any]] = [
    {},
    {"r": 8},
    {"r": 9},
    {"r": 0},
    {"rank_pattern": {"q_proj": 8}},
    {"rank_pattern": {"q_proj": 9}},
    {"rank_pattern": {"q_proj": 0}},
    {"alpha_pattern": {"q_proj": 3}},
    {"use_rslora": True},
    {"bias": "all"},
    {"bias": "lora_only"},
    {"lora_bias": True},
    {"modules_to_save": ["lm_head"]},
    {"use_dora": True},
    *({"init_lora_weights": init} for init in (True, False, *servable.INITS, "Gaussian")),
    *({"init_lora_weights": init} for init in ("pissa", "pissa_niter_4", "olora", "corda", "loftq")),
    {"alora_invocation_tokens": [1]},
    {"layer_replication": [[0, 1]]},
    {"use_bdlora": {"nblocks": 2}},
    {"use_qalora": True},
]


@pytest.mark.engine
def test_we_take_and_refuse_what_vllm_does():
    configs = [lora_config(**given) for given in AS_VLLM]
    judged = subprocess.run(
        [str(Settings().gpu_interpreter()), "-W", "ignore", "-c", JUDGE, str(RANK_MAX)],
        input=json.dumps(configs),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert judged.returncode == 0, judged.stderr
    theirs = json.loads(judged.stdout.splitlines()[-1])
    ours = [_passes(config) for config in configs]
    differ = [given for given, their, our in zip(AS_VLLM, theirs, ours, strict=True) if their != our]
    assert differ == []
    assert 5 < sum(theirs) < len(theirs) - 5


def _passes(config: dict[str, Any]) -> bool:
    try:
        servable.check(config, spec_of(rank_max=RANK_MAX))
    except Invalid:
        return False
    return True
