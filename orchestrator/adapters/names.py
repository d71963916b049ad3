"""What a fine-tuned model is called: `ft:<base>:<organization>:<suffix or nothing>:<8 characters>`.

The last part is the end of its source's id, a fine-tuning job's or an import's. So a job's checkpoints bear
the name of its final model before there is one, and a second try at publishing makes no second name.
"""

import re

from orchestrator.errors import Invalid

SUFFIX_CHARACTERS_MAX = 64
_SLUG_CHARACTERS_MAX = 24
_UNIQUE_CHARACTERS = 8
_NO_SLUG = re.compile(r"[^a-z0-9]+")
_SUFFIX = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


def model_name(base_model: str, organization_name: str, suffix: str | None, source_id: str) -> str:
    """The name of the model that `source_id` makes, for example `ft:yard-smoke:acme:topics:7p4l0q2x`."""
    unique = source_id[-_UNIQUE_CHARACTERS:]
    return f"ft:{base_model}:{slug(organization_name)}:{suffix or ''}:{unique}"


def checkpoint_name(model: str, step: int) -> str:
    """The name of `model` as it was after `step` steps."""
    return f"{model}:ckpt-step-{step}"


def base_of(model: str) -> str:
    """The base model that an adapter's name tells, a checkpoint's too; any other name is its own."""
    if not model.startswith("ft:"):
        return model
    parts = model.split(":")
    return ":".join(parts[1 : -4 if parts[-1].startswith("ckpt-step-") else -3])


def slug(organization_name: str) -> str:
    """The organization in small letters and hyphens: `Acme Corp.` is `acme-corp`. May be empty."""
    words = _NO_SLUG.sub("-", organization_name.lower()).strip("-")
    return words[:_SLUG_CHARACTERS_MAX].rstrip("-")


def check_suffix(suffix: str, *, param: str = "suffix") -> str:
    """`suffix` itself, if it can stand in a model's name. Raises Invalid."""
    if len(suffix) > SUFFIX_CHARACTERS_MAX or not _SUFFIX.fullmatch(suffix):
        raise Invalid(
            f"Invalid value: {suffix[:SUFFIX_CHARACTERS_MAX]!r}. Expected 1 to {SUFFIX_CHARACTERS_MAX} "
            "letters, digits, '-', '_' and '.', the first and the last a letter or digit: it becomes part of "
            "the model's name.",
            param=param,
        )
    return suffix
