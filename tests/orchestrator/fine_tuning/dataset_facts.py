"""Facts of datasets, and shapes of models, that tests of numbers need."""

from orchestrator.datasets.statistics import DatasetFacts
from orchestrator.models.registry import LoraSpec, ModelSpec
from orchestrator.models.shape import ModelShape


def facts(examples: int = 300, *, longest: int = 100, mean: int = 50) -> DatasetFacts:
    """A file whose examples have `mean` tokens, half of them learnt."""
    tokens = examples * mean
    return DatasetFacts(examples, tokens, tokens // 2, 0, longest, mean, longest, "0" * 64)


def base(**lora: object) -> ModelSpec:
    """A model that takes adapters up to rank 32 and examples of 2,048 tokens."""
    return ModelSpec(
        id="tiny",
        source="/nowhere",
        context_length=2_048,
        endpoints=("/v1/chat/completions",),
        input_price=0,
        cached_input_price=0,
        output_price=0,
        lora=LoraSpec.model_validate({"training_price": "0.5", "learning_rate": 1e-3} | lora),
    )


def qwen3_8b() -> ModelShape:
    """As its config and its weight files say."""
    width, inner, keys, layers, vocabulary = 4_096, 12_288, 1_024, 36, 151_936
    sizes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    linear = {f"model.layers.{layer}.{name}": size for layer in range(layers) for name, size in sizes.items()}
    parameters = sum(rows * columns for rows, columns in linear.values()) + 2 * vocabulary * width
    return ModelShape("qwen3", width, layers, vocabulary, parameters, linear)
