"""A trainer that does as a test wants: stands where the gpu environment's Python does, and learns nothing."""

import sys
from pathlib import Path

from orchestrator.settings import PROJECT

HEAD = f"""#!{sys.executable}
import json, os, signal, sys, time
sys.path.insert(0, {str(PROJECT)!r})
import msgspec
from pathlib import Path
from workers.training import reports
from workers.training.spec import decode

spec = decode(Path(sys.argv[-1]).read_bytes())
asked = False

def ask(*_):
    global asked
    asked = True

signal.signal(signal.SIGTERM, ask)
out = (spec.folder / reports.FILENAME).open("ab", buffering=0)
first = int((spec.resume_from / "state.pt").read_text()) if spec.resume_from else 0

def say(report):
    out.write(msgspec.json.encode(report) + b"\\n")

def started():
    say(reports.Started(first, 40, 10, "cpu", 1, {{"torch": "0"}}))

def step(number):
    say(reports.Step(number, number / 10, 4 / number, 0.5, 0.001, 1.0, 100 * number, 0.01, 1 << 20))

def checkpoint(number, reason="epoch"):
    folder = spec.folder / "checkpoints" / str(number)
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights after %d" % number)
    config = {{"r": 8, "target_modules": ["q_proj"], "peft_type": "LORA"}}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    (folder / "state.pt").write_text(str(number))
    say(reports.Checkpoint(number, str(folder), 100 * number, reason))

def steps(last):
    for number in range(first + 1, last + 1):
        step(number)

def until_asked():
    while not asked:
        time.sleep(0.01)
"""

FINISHES = """
started()
steps(40)
checkpoint(40, "finished")
say(reports.Finished(40, 4000, False))
"""

STOPS_WHEN_ASKED = """
started()
steps(15)
until_asked()
checkpoint(15, "stopped")
say(reports.Stopped(15, 1500))
"""

DIES = """
started()
steps(10)
checkpoint(10)
steps(13)
os.kill(os.getpid(), signal.SIGKILL)
"""

NEEDS_SMALL_PACKS = f"""
if spec.micro_tokens > 512:
    started()
    say(reports.Failed("out_of_memory", "no room"))
    sys.exit(1)
{FINISHES}
"""

NEVER_FITS = """
say(reports.Failed("out_of_memory", "no room for " + str(spec.micro_tokens)))
sys.exit(1)
"""

DIVERGES = """
started()
steps(3)
say(reports.Failed("training_diverged", "The loss is not a number after step 3.", 3))
sys.exit(1)
"""

BREAKS = """
say(reports.Failed("internal_error", "KeyError: 'x'"))
sys.exit(1)
"""


def scripted(folder: Path, script: str) -> Path:
    """A Python that does this whatever module it is told to run."""
    program = folder / "python"
    program.write_text(HEAD + script)
    program.chmod(0o755)
    return program
