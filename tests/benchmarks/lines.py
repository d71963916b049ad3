"""Lines that cost the same wherever they run, and the model that runs them."""

from orchestrator.models.registry import ModelSpec, Registry
from orchestrator.settings import PROJECT
from tests.customer import CHAT, Line
from tests.smoke_fixture import made_smoke_model

OUTPUT_TOKENS = 64


def model() -> ModelSpec:
    """The smoke model as every yard has it."""
    made_smoke_model()
    spec = Registry.load(None, home=PROJECT / ".yard").get("yard-smoke")
    assert spec is not None
    return spec


def equal_lines(count: int, *, about: str, model: str = "yard-smoke") -> list[Line]:
    """Lines with OUTPUT_TOKENS each. No engine has seen the prompts before, where `about` is new."""
    return [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": CHAT,
            "body": {
                "model": model,
                "messages": [{"role": "user", "content": f"{about} {number}: name the subject."}],
                "max_tokens": OUTPUT_TOKENS,
                "min_tokens": OUTPUT_TOKENS,
                "ignore_eos": True,
            },
        }
        for number in range(count)
    ]
