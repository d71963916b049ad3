"""What engines can serve of all that PEFT can write, decided before anything is trained or stored.

vLLM's own rules for a LoRA adapter as a table: it would refuse the same at load time, with a 500, or serve
the base in silence. What it does not know of yet is refused too.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import Invalid
from orchestrator.models import weights
from orchestrator.models.registry import LoraSpec, ModelSpec

CODE = "adapter_not_servable"
MODULES_TOLD_MAX = 20

# They set the first weights only: what is saved loads as a plain LoRA. Others (PiSSA, OLoRA, CorDA, LoftQ)
# change the base model, and so does what comes out of them.
INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")

# Names, never expressions: engines match each against every module, and an expression can take for ever.
_MODULE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")

# What each setting must be, and the words for it. Read as vLLM reads them, PEFT's defaults included.
_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "peft_type": (lambda value: value == "LORA", "'LORA'"),
    "bias": (lambda value: value == "none", "'none'"),
    "init_lora_weights": (
        lambda value: isinstance(value, bool) or (isinstance(value, str) and value.lower() in INITS),
        "true, false or one of " + ", ".join(f"'{init}'" for init in INITS),
    ),
    "lora_alpha": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "use_rslora": (lambda value: isinstance(value, bool), "true or false"),
    "fan_in_fan_out": (lambda value: value is False, "false"),
}
_REQUIRED = ("peft_type", "r", "lora_alpha", "target_modules")

# These say nothing about how the weights are to be used, or only how they came to be.
_IGNORED = {
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("lora_dropout", "exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core"),
    *("qalora_group_size", "loftq_config", "eva_config", "lora_ga_config", "runtime_config"),
    *("ensure_weight_tying", "arrow_config"),
}
_CHECKED = {*_ALLOWED, "r", "target_modules", "rank_pattern", "alpha_pattern"}


def check(config: Mapping[str, Any], spec: ModelSpec) -> None:
    """Pass where engines of `spec` can serve an adapter with this `adapter_config.json`. Raises Invalid with
    what was found and what is allowed."""
    lora = _lora(spec)
    for name in _REQUIRED:
        if name not in config:
            raise _refused(name, f"'{name}' is missing")
    for name, (allows, words) in _ALLOWED.items():
        if name in config and not allows(config[name]):
            raise _refused(name, f"'{name}' is {_told(config[name])}; engines serve only {words}")
    for name, value in config.items():
        if name not in _CHECKED and name not in _IGNORED and value:
            raise _refused(name, f"'{name}' is {_told(value)}; engines serve only adapters without it")
    _check_rank(config["r"], lora, "r")
    for name, rank in _pattern(config, "rank_pattern").items():
        _check_rank(rank, lora, f"rank_pattern.{name}")
    for name, alpha in _pattern(config, "alpha_pattern").items():
        if not _is_number(alpha) or alpha <= 0:
            raise _refused(
                f"alpha_pattern.{name}",
                f"'alpha_pattern.{name}' is {_told(alpha)}; expected a number above 0",
            )
    targets = config["target_modules"]
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise _refused(
            "target_modules",
            f"'target_modules' is {_told(targets)}; expected a list of module names, as PEFT saves it",
        )
    _check_targets(targets, spec, "target_modules")


def check_lora(*, r: int, spec: ModelSpec, target_modules: Sequence[str] = (), param: str = "lora") -> None:
    """Pass where a training with these settings makes an adapter that engines of `spec` can serve; without
    `target_modules` it is every linear layer. `param` is where the request has them. Raises Invalid."""
    lora = _lora(spec)
    _check_rank(r, lora, f"{param}.r")
    _check_targets(target_modules, spec, f"{param}.target_modules")


def _lora(spec: ModelSpec) -> LoraSpec:
    if spec.lora is None:
        raise Invalid(
            f"The model '{spec.id}' takes no adapters. GET /v1/models says which do.",
            code="model_not_supported",
            param="model",
        )
    return spec.lora


def _check_rank(rank: Any, lora: LoraSpec, name: str) -> None:
    if type(rank) is not int or not 1 <= rank <= lora.rank_max:
        raise _refused(
            name, f"'{name}' is {_told(rank)}; engines of this model serve ranks from 1 to {lora.rank_max}"
        )


def _check_targets(targets: Sequence[str], spec: ModelSpec, name: str) -> None:
    for target in targets:
        if not _MODULE.fullmatch(target):
            raise _refused(
                name, f"'{name}' has {_told(target)}; expected the name of a module, not an expression"
            )
    shapes = weights.linear_shapes(spec.source) if spec.source else None
    if shapes is None:
        return  # its weights are not on this machine: the engine has the last word
    known = {module.rpartition(".")[2] for module in shapes}
    for target in targets:
        if not any(module == target or module.endswith(f".{target}") for module in shapes):
            raise _refused(
                name,
                f"'{name}' has {_told(target)}, which '{spec.id}' does not have; its linear layers are "
                + ", ".join(sorted(known)[:MODULES_TOLD_MAX]),
            )


def _pattern(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    pattern = config.get(name) or {}
    if not isinstance(pattern, dict):
        raise _refused(name, f"'{name}' is {_told(pattern)}; expected an object of module names")
    for module in pattern:
        if not _MODULE.fullmatch(module):
            raise _refused(
                name, f"'{name}' has {_told(module)}; expected the name of a module, not an expression"
            )
    return pattern


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _refused(param: str, message: str) -> Invalid:
    return Invalid(f"This adapter cannot be served: {message}.", code=CODE, param=param)
