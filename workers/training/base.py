"""The frozen base model, ready to be trained on."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from workers.training import attention
from workers.training.spec import TrainingSpec

# What some architectures do to logits, and our loss does not.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class InvalidBaseModel(Exception):
    """The base cannot be loaded, or is of a kind that cannot be trained here."""


def load(spec: TrainingSpec, device: torch.device) -> PreTrainedModel:
    """Raises InvalidBaseModel."""
    attention.register()
    disable_progress_bar()
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            spec.base, dtype=getattr(torch, spec.dtype), attn_implementation=attention.NAME
        )
    except (OSError, ValueError) as error:
        raise InvalidBaseModel(f"{spec.base_id} cannot be loaded by transformers.") from error
    for name in _LOGIT_CHANGES:
        if getattr(model.config, name, None) not in (None, 1.0):
            raise InvalidBaseModel(f"{spec.base_id} changes its logits by {name}, which cannot be trained.")
    if spec.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.to(device)
    return model
