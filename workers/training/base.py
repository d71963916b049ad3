"""The frozen base model, ready to be trained on."""

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from workers.training import attention
from workers.training.spec import TrainingSpec

# What some architectures do to logits, and our loss does not.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class InvalidBaseModel(Exception):
    """The base cannot be loaded, or is of a kind that cannot be trained here."""


def load(spec: TrainingSpec, device: torch.device) -> PreTrainedModel:
    """On `device`, the weights in the spec's dtype or, those of linear layers, in 4 bits (QLoRA).

    Norms keep that dtype too: transformers computes them in fp32 anyway, and with weights in fp32 they would
    make everything that follows them fp32. Raises InvalidBaseModel."""
    attention.register()
    disable_progress_bar()
    dtype = getattr(torch, spec.dtype)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            spec.base,
            dtype=dtype,
            attn_implementation=attention.NAME,
            quantization_config=_quantization(spec, dtype),
            device_map={"": device},
        )
    except (OSError, ValueError) as error:
        raise InvalidBaseModel(f"{spec.base_id} cannot be loaded by transformers.") from error
    for name in _LOGIT_CHANGES:
        if getattr(model.config, name, None) not in (None, 1.0):
            raise InvalidBaseModel(f"{spec.base_id} changes its logits by {name}, which cannot be trained.")
    if spec.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _quantization(spec: TrainingSpec, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """bitsandbytes does it on a GPU and, slower, on a CPU. The head and the embeddings stay as they are."""
    if spec.quantization == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=spec.quantization, bnb_4bit_compute_dtype=dtype
    )
