"""A plugin for vLLM on CPU, loaded by each of its processes: lines of the base model stay the base model's.

vLLM 0.32's LoRA kernels for CPU take the slot of a row that has no adapter, -1, as Python does: as the last
one. Once every slot has been filled (and unloading a name frees none) such rows are answered by whatever
adapter is there. vLLM 0.33 masks them, as its kernels for CUDA always have; this does the same, and no harm
to a version that does it itself.
"""

from typing import Any


def keep_base_rows() -> None:
    """Let rows without an adapter enter the kernels as zeros, so that no adapter adds to them."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    shrink = lora_ops.bgmv_shrink
    if shrink.__module__ == __name__:
        return  # vLLM may load a plugin more than once

    def bgmv_shrink(inputs: Any, weights: Any, output: Any, slots: Any, scaling: float = 1.0) -> None:
        # inputs [rows, width], slots [rows]
        shrink(inputs * (slots >= 0).to(inputs.dtype).unsqueeze(1), weights, output, slots, scaling)

    lora_ops.bgmv_shrink = bgmv_shrink
    punica_cpu.bgmv_shrink = bgmv_shrink
