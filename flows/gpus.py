"""Which GPUs of this machine are whose: each engine in this process sees its own and no other."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.settings import Settings

_taken: set[int] = set()


class NoFreeGpu(Exception):
    """The yard's slots promise more GPUs than this machine has left."""


@contextmanager
def visible_gpus(settings: Settings, count: int) -> Iterator[dict[str, str]]:
    """`CUDA_VISIBLE_DEVICES` for a child that gets `count` GPUs while the block runs; nothing without CUDA.

    Raises NoFreeGpu.
    """
    if not settings.has_cuda():
        yield {}
        return
    free = [number for number in range(settings.gpu_slots()) if number not in _taken]
    if len(free) < count:
        raise NoFreeGpu(f"{count} GPUs wanted, {len(free)} of {settings.gpu_slots()} free")
    mine = free[:count]
    _taken.update(mine)
    try:
        yield {"CUDA_VISIBLE_DEVICES": ",".join(map(str, mine))}
    finally:
        _taken.difference_update(mine)
