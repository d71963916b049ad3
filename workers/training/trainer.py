"""Trains one adapter: `python -m workers.training.trainer SPEC.json`, or in several processes as
`launch.argv` starts them.

Reports go to `reports.jsonl` in the spec's folder. SIGTERM lets it finish its step, keep what it has learnt
and end well. The exit code is 1 where the last report is a failure.
"""

import gc
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from workers.training import reports, spec
from workers.training.spec import TrainingSpec

_CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch raises a plain RuntimeError where the machine's memory ends
_OUT_OF_MEMORY = (
    "The training needed more memory than there is. "
    "Try shorter examples, a smaller LoRA rank, or quantization of the base."
)


class _Stop:
    """Becomes true with SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m workers.training.trainer SPEC.json")
    told = spec.decode(Path(sys.argv[1]).read_bytes())
    told.folder.mkdir(parents=True, exist_ok=True)
    stop = _Stop()
    with (told.folder / reports.FILENAME).open("ab", buffering=0) as out:

        def tell(report: reports.Report) -> None:
            out.write(msgspec.json.encode(report) + b"\n")

        try:
            train(told, tell, stop)
        except Exception as error:
            traceback.print_exc()
            tell(failure(error))
            sys.exit(1)


def train(told: TrainingSpec, tell: Callable[[reports.Report], None], stopping: Callable[[], bool]) -> None:
    """Raises whatever ended it."""
    if told.quantization == "none":
        # PEFT would import it, for two seconds. So marked, a module counts as not installed.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    gc.disable()  # it would search a million new objects for garbage, for most of a second
    from workers.training import loop  # seconds of imports: a SIGTERM meanwhile must find its handler

    gc.freeze()
    gc.enable()
    training = loop.begin(told)
    together = training.processes
    loop.run(training, tell if together.is_first else _say_nothing, lambda: together.any(stopping()))


def _say_nothing(_: reports.Report) -> None:
    """The first process speaks for all."""


def failure(error: Exception) -> reports.Failed:
    """What the customer is told of an exception that ended the training; the log has the rest."""
    import torch

    from workers.training.attention import UnsupportedAttention
    from workers.training.base import InvalidBaseModel
    from workers.training.health import Diverged

    match error:
        case Diverged():
            return reports.Failed("training_diverged", str(error), error.step)
        case InvalidBaseModel() | UnsupportedAttention():
            return reports.Failed("invalid_base_model", str(error))
        case MemoryError() | torch.OutOfMemoryError():
            return reports.Failed("out_of_memory", _OUT_OF_MEMORY)
        case RuntimeError() if _CPU_ALLOCATOR in str(error):
            return reports.Failed("out_of_memory", _OUT_OF_MEMORY)
    return reports.Failed("internal_error", f"The trainer failed with {type(error).__name__}.")


if __name__ == "__main__":
    main()
