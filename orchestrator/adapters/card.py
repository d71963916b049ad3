"""A model card: how an adapter was made, kept in its row and beside its files for programs and for people."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_CELL_CHARACTERS_MAX = 300


def trained(
    *,
    base_model: str,
    method: str,
    lora: Mapping[str, Any],
    hyperparameters: Mapping[str, Any],
    seed: int,
    datasets: Mapping[str, Any],
    step: int,
    trained_tokens: int,
    metrics: Mapping[str, Any],
    versions: Mapping[str, str],
    job_id: str,
) -> dict[str, Any]:
    """The card of what a fine-tuning job made at `step`. `datasets` has a fingerprint (`sha256`) and counts
    of each file, `versions` the libraries that trained. With the base, the datasets, the numbers and the
    seed, the same training can be done again."""
    return {
        "base_model": base_model,
        "origin": "trained",
        "fine_tuning_job": job_id,
        "method": method,
        "lora": dict(lora),
        "hyperparameters": dict(hyperparameters),
        "seed": seed,
        "datasets": dict(datasets),
        "step": step,
        "trained_tokens": trained_tokens,
        "metrics": dict(metrics),
        "versions": dict(versions),
    }


def imported(*, base_model: str, config: Mapping[str, Any], input_file_id: str) -> dict[str, Any]:
    """The card of an adapter that was brought: what its own config says."""
    names = (
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
    )
    return {
        "base_model": base_model,
        "origin": "imported",
        "input_file_id": input_file_id,
        "named_base": config.get("base_model_name_or_path"),
        "lora": {name: config[name] for name in names if name in config},
        "versions": {"peft": config.get("peft_version")},
    }


def as_json(card: Mapping[str, Any]) -> bytes:
    """`card.json`."""
    return (json.dumps(card, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def as_readme(card: Mapping[str, Any]) -> bytes:
    """`README.md`, with the lines at its top by which hubs and PEFT know an adapter."""
    base = str(card["base_model"])
    lines = [
        *("---", f"base_model: {json.dumps(base)}", "library_name: peft", "tags: [lora]", "---"),
        f"# A LoRA adapter for {_cell(base)}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in _flat(card)),
    ]
    return ("\n".join(lines) + "\n").encode()


def _flat(card: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in card.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield _cell(f"{above}{name}"), value


def _cell(value: Any) -> str:
    """In one line that ends no table and begins no markup."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= _CELL_CHARACTERS_MAX else f"{text[:_CELL_CHARACTERS_MAX]}…"
