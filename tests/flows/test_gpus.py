"""GPUs are handed out by number; the machine's own are replaced by a number in the settings."""

import pytest

from flows.gpus import NoFreeGpu, visible_gpus
from orchestrator.settings import Settings


class TwoGpus(Settings):
    """A machine with CUDA and two GPUs."""

    gpus: int | None = 2

    def has_cuda(self) -> bool:
        return True


def test_two_engines_of_one_machine_see_different_gpus() -> None:
    with visible_gpus(TwoGpus(), 1) as first, visible_gpus(TwoGpus(), 1) as second:
        assert (first, second) == ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"})


def test_a_gpu_is_free_again_when_its_engine_has_ended() -> None:
    with visible_gpus(TwoGpus(), 2) as both:
        assert both == {"CUDA_VISIBLE_DEVICES": "0,1"}
        with pytest.raises(NoFreeGpu, match="1 GPUs wanted, 0 of 2 free"), visible_gpus(TwoGpus(), 1):
            pass
    with visible_gpus(TwoGpus(), 1) as again:
        assert again == {"CUDA_VISIBLE_DEVICES": "0"}


def test_without_cuda_nothing_is_hidden() -> None:
    with visible_gpus(Settings(gpus=1), 1) as visible:
        assert visible == {}
