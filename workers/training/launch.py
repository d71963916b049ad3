"""How a trainer is started, in one process or in several."""

from pathlib import Path

_TRAINER = "workers.training.trainer"


def argv(python: Path, spec: Path, *, processes: int = 1) -> list[str]:
    """The command for the trainer of `spec` on `processes` GPUs of this machine.

    Several are started by torch's own launcher, which is also what `accelerate launch` starts: it passes
    SIGTERM on, and ends the others where one has failed."""
    if processes == 1:
        return [str(python), "-m", _TRAINER, str(spec)]
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--module"]
    return [str(python), "-m", *launcher, _TRAINER, str(spec)]
