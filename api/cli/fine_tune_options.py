"""How to train, as options that `create` and `estimate` share; what is left out, the dataset decides."""

from enum import StrEnum
from typing import Annotated, Any

import typer


class Method(StrEnum):
    """What an example is."""

    SUPERVISED = "supervised"
    DPO = "dpo"


LEARNING = "How it learns"
ADAPTER = "What the adapter is"

Model = Annotated[str, typer.Option("--model", "-m", help="The base model: `yard model list`.")]
MethodOption = Annotated[
    Method, typer.Option("--method", help="dpo: learn which of two answers is preferred.")
]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the dataset, 1 to 50.", rich_help_panel=LEARNING)
]
BatchSize = Annotated[
    int | None, typer.Option(help="Examples in a step, 1 to 256.", rich_help_panel=LEARNING)
]
Multiplier = Annotated[
    float | None,
    typer.Option("--learning-rate-multiplier", help="Of the model's own rate.", rich_help_panel=LEARNING),
]
Beta = Annotated[
    float | None,
    typer.Option(help="With dpo: how firmly the model stays what it was, up to 2.", rich_help_panel=LEARNING),
]
Rank = Annotated[
    int | None, typer.Option("--rank", "-r", help="Its capacity, such as 16.", rich_help_panel=ADAPTER)
]
Alpha = Annotated[int | None, typer.Option(help="Its weight, over its rank.", rich_help_panel=ADAPTER)]
Dropout = Annotated[float | None, typer.Option(help="From 0 to below 1.", rich_help_panel=ADAPTER)]
TargetModules = Annotated[
    list[str] | None,
    typer.Option(
        "--target-module",
        metavar="NAME",
        help="A kind of layer, such as q_proj; may be repeated. Default: every linear layer.",
        rich_help_panel=ADAPTER,
    ),
]
Rslora = Annotated[
    bool, typer.Option("--rslora", help="Weigh by the root of the rank.", rich_help_panel=ADAPTER)
]
EvaluateEvery = Annotated[
    int | None,
    typer.Option("--evaluate-every", help="Steps between looks at --validation.", rich_help_panel=LEARNING),
]
EarlyStopping = Annotated[
    int | None,
    typer.Option(
        "--early-stopping",
        help="End after so many evaluations without a better one; steps not taken are not charged.",
        rich_help_panel=LEARNING,
    ),
]
ExampleTokens = Annotated[
    int | None,
    typer.Option("--example-tokens", help="Cut longer examples off at the end.", rich_help_panel=LEARNING),
]
Quantization = Annotated[
    str | None,
    typer.Option(metavar="nf4", help="Keep the base in 4 bits (QLoRA).", rich_help_panel=LEARNING),
]


def method_body(
    method: Method,
    *,
    epochs: int | None,
    batch_size: int | None,
    multiplier: float | None,
    beta: float | None,
    rank: int | None,
    alpha: int | None,
    dropout: float | None,
    target_modules: list[str] | None,
    rslora: bool,
    evaluate_every: int | None,
    early_stopping: int | None,
    example_tokens: int | None,
    quantization: str | None,
) -> dict[str, Any]:
    """The `method` of a request, of what was given."""
    hyperparameters = {
        "n_epochs": epochs,
        "batch_size": batch_size,
        "learning_rate_multiplier": multiplier,
        "beta": beta,
    }
    lora = {
        "r": rank,
        "alpha": alpha,
        "dropout": dropout,
        "target_modules": target_modules or None,
        "use_rslora": rslora or None,
    }
    extension = {
        "evaluate_every_steps": evaluate_every,
        "early_stopping_patience": early_stopping,
        "example_tokens_max": example_tokens,
        "quantization": quantization,
    }
    settings = {
        "hyperparameters": _given(hyperparameters),
        "lora": _given(lora),
        "tokenyard": _given(extension),
    }
    return {"type": method.value, method.value: {name: given for name, given in settings.items() if given}}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
