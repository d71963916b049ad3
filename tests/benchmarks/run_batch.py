"""vLLM's own `run-batch`, the peer: one file, from the start of its process to its end."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.models.registry import ModelSpec
from orchestrator.settings import Settings, inherited_environment
from tests.customer import Line
from workers.inference.server import EngineSpec

READS, WRITES = "Reading batch from", "Writing outputs to local file"  # what it logs


@dataclass(frozen=True)
class PeerRun:
    """`start_seconds` until its engine took the first line, `run_seconds` from there to its results."""

    lines: int
    output_tokens: int
    start_seconds: float
    run_seconds: float
    total_seconds: float


def run_batch(
    folder: Path, lines: Sequence[Line], model: ModelSpec, *, adapters: Mapping[str, Path] | None = None
) -> PeerRun:
    """Run the lines with the flags and the environment that a yard gives to the model's engines. It loads
    `adapters`, folders by the names that lines use, at its start."""
    spec = engine_spec(folder, model)
    source, output = folder / "theirs.jsonl", folder / "theirs.out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = [str(spec.python), "-m", "vllm.entrypoints.openai.run_batch"]
    argv += ["-i", str(source), "-o", str(output), "--model", spec.source]
    argv += ["--served-model-name", spec.model, "--max-model-len", str(spec.context_length)]
    argv += ["--max-num-seqs", str(spec.max_num_seqs), "--enable-prefix-caching"]
    argv += [*([] if spec.cuda else ["--enforce-eager"]), *spec.flags]
    if adapters and model.lora:
        argv += ["--enable-lora", "--max-lora-rank", str(model.lora.rank_max)]
        argv += ["--max-loras", str(len(adapters)), "--lora-modules"]
        argv += [f"{name}={path}" for name, path in adapters.items()]
    began = time.monotonic()
    seen: dict[str, float] = {}
    said: list[str] = []
    with subprocess.Popen(
        argv,
        env=spec.child_environment() | {"PYTHONUNBUFFERED": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            said.append(text)
            for mark in (READS, WRITES):
                if mark in text:
                    seen[mark] = time.monotonic()
    assert seen.keys() == {READS, WRITES}, "".join(said[-30:])
    results = [json.loads(line)["response"]["body"] for line in output.read_text().splitlines()]
    assert len(results) == len(lines)
    return PeerRun(
        lines=len(results),
        output_tokens=sum(result["usage"]["completion_tokens"] for result in results),
        start_seconds=seen[READS] - began,
        run_seconds=seen[WRITES] - seen[READS],
        total_seconds=time.monotonic() - began,
    )


def engine_spec(folder: Path, model: ModelSpec) -> EngineSpec:
    """An engine of the model as a yard runs it, with what it leaves in `folder`."""
    here = Settings()
    return EngineSpec(
        id="eng_bench",
        model=model.id,
        source=model.source or "",
        python=here.gpu_interpreter(),
        host="127.0.0.1",
        api_key=None,
        context_length=model.context_length,
        max_num_seqs=model.max_num_seqs,
        flags=model.engine_flags,
        cuda=here.has_cuda(),
        log=folder / "engine.log",
        environment=inherited_environment(),
    )
