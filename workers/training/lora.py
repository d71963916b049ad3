"""The adapter: put on a frozen base, written as PEFT's two files, read back."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from workers.training.spec import LoraSettings

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_NAME = "default"  # PEFT's, of the one adapter there is


def attach(model: PreTrainedModel, settings: LoraSettings, *, base_id: str) -> PeftModel:
    """Freezes `model` and gives it an adapter in fp32, drawn from torch's generator.

    Raises ValueError where the model has none of the target modules."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules) or "all-linear",
        use_rslora=settings.use_rslora,
    )
    adapted: PeftModel = get_peft_model(model, config)
    config.base_model_name_or_path = base_id  # PEFT has put the folder there
    return adapted


def parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """What learns, by name."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def save(model: PeftModel, folder: Path) -> None:
    """Writes the two files, and nothing else; the same adapter gives the same bytes."""
    folder.mkdir()
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config[_NAME].to_dict() | {"inference_mode": True}
    text = json.dumps(config, indent=2, sort_keys=True, default=sorted)  # sets, in an order
    (folder / CONFIG).write_text(text + "\n")


def load(model: PeftModel, folder: Path) -> None:
    """Puts the weights of `folder` into the adapter. Raises ValueError where they are of another one."""
    tensors = load_file(folder / WEIGHTS)
    own = {name.replace(f".{_NAME}.", "."): each for name, each in parameters(model).items()}
    if tensors.keys() != own.keys():
        raise ValueError(f"{folder} is of another adapter: {sorted(tensors.keys() ^ own.keys())[:4]} differ")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
