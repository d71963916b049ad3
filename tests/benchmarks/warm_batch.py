"""Our driver against vLLM's own `run-batch`: the same lines, model, flags and machine, in turns.

    python -m tests.benchmarks.warm_batch MODEL_FOLDER [--lines 512] [--tokens 64] [--rounds 2]

For `run-batch` the clock runs from the moment it reads the file, its engine started, to the moment it
writes its results; for us from the first line sent to the last segment stored. Each round has prompts
of its own, so that no engine has seen them before.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import settings
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch
from workers.inference.drive import Orders, Target, drive
from workers.inference.server import EngineServer, EngineSpec

MODEL = "bench"
START_SECONDS_MAX = 600.0
FILL = 1.25  # lines in flight per place in the engine, as the yard has it


def batch(lines: int, tokens: int, round_: str) -> list[dict[str, Any]]:
    """Lines that all cost `tokens` output tokens."""
    return [
        chat_line(
            number,
            model=MODEL,
            messages=[{"role": "user", "content": f"{round_} {number}: name the subject."}],
            max_tokens=tokens,
            ignore_eos=True,
        )
        for number in range(lines)
    ]


async def ours(folder: Path, lines: list[dict[str, Any]], target: Target) -> float:
    """Lines per second of our driver."""
    source, shelf, orders = folder / "ours.jsonl", Shelf(LocalStore(folder / "store")), Orders()
    index = write_batch(source, lines)
    orders.retarget({MODEL: [target]})
    began = time.monotonic()
    await drive(
        source=source,
        index=index,
        order=order(index, np.arange(len(index))),
        orders=orders,
        segments=shelf.writer(),
    )
    seconds = time.monotonic() - began
    assert sum(info.completed for info in shelf.adopted) == len(lines)
    return len(lines) / seconds


def theirs(folder: Path, lines: list[dict[str, Any]], spec: EngineSpec) -> float:
    """Lines per second of `run-batch`, its start not counted."""
    source, output = folder / "theirs.jsonl", folder / "theirs.out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = [str(spec.python), "-m", "vllm.entrypoints.openai.run_batch"]
    argv += ["-i", str(source), "-o", str(output), "--model", spec.source]
    argv += ["--served-model-name", spec.model, "--max-model-len", str(spec.context_length)]
    argv += ["--max-num-seqs", str(spec.max_num_seqs)]
    argv += [] if spec.cuda else ["--enforce-eager"]
    began = ended = 0.0
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
            if "Reading batch from" in text:
                began = time.monotonic()
            if "Writing outputs to local file" in text:
                ended = time.monotonic()
    assert len(output.read_text().splitlines()) == len(lines)
    return len(lines) / (ended - began)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--lines", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    options = parser.parse_args()
    here = settings.Settings()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = EngineSpec(
            id="eng_bench",
            model=MODEL,
            source=str(options.model.resolve()),
            python=here.gpu_interpreter(),
            host="127.0.0.1",
            api_key="bench",
            context_length=512,
            max_num_seqs=options.max_num_seqs,
            flags=[],
            cuda=here.has_cuda(),
            log=folder / "engine.log",
            environment=settings.inherited_environment(),
        )
        server = EngineServer(spec)
        began = time.monotonic()
        await server.start()
        try:
            await server.wait_ready(START_SECONDS_MAX)
            print(f"engine ready after {time.monotonic() - began:.1f} s")
            target = Target(spec.id, server.url, spec.api_key, int(spec.max_num_seqs * FILL))
            await ours(folder, batch(32, options.tokens, "warm-up"), target)
            print(f"{'round':>5} {'ours':>10} {'run-batch':>10} {'ratio':>6}   load")
            for number in range(1, options.rounds + 1):
                lines = batch(options.lines, options.tokens, f"round {number}")
                we = await ours(folder, lines, target)
                they = await asyncio.to_thread(theirs, folder, lines, spec)
                load = os.getloadavg()[0]
                print(f"{number:5d} {we:8.1f}/s {they:8.1f}/s {we / they:6.2f}   {load:.1f}")
        finally:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
