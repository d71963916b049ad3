"""The plan page: every tier beside the others, what each allows and what each costs."""

from collections.abc import Mapping

from fastapi.responses import HTMLResponse

from api.pages import page, percent
from api.schemas.models import ModelObject
from api.schemas.tiers import TierList
from orchestrator.entitlements.tiers import Tier
from orchestrator.metering.prices import Prices, dollars, training_price_micros

# What a person calls each key of tiers.toml, and where they look for it.
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Batches": {
        "models": "Models",
        "batch_discount": "Off the list price",
        "batch_lines_max": "Lines in a batch",
        "batch_lines_per_day": "Lines a day",
        "line_bytes_max": "Size of a line",
        "concurrent_batches": "Batches at once",
        "queued_tokens_max": "Prompt tokens waiting, for each model",
        "completion_window_hours_min": "Shortest completion window",
        "completion_window_hours_max": "Longest completion window",
        "priority": "Place in the queue (smaller is sooner)",
        "weight": "Share of busy engines",
    },
    "Files": {
        "file_bytes_max": "Size of a file",
        "upload_bytes_max": "Size of an upload in parts",
        "upload_parts_parallel": "Parts uploaded at once",
        "retention_days": "Kept for",
    },
    "Fine-tuning": {
        "fine_tuning": "LoRA fine-tuning",
        "fine_tuning_jobs": "Jobs at once",
        "training_price_factor": "Of the model's training price",
    },
    "Sandbox, for each model": {
        "requests_per_minute": "Requests a minute",
        "requests_per_day": "Requests a day",
        "tokens_per_minute": "Tokens a minute",
        "tokens_per_day": "Tokens a day",
        "requests_at_once": "Requests at once, over all models",
        "sandbox_discount": "Off the list price",
    },
    "Support": {"support": "Support", "support_contact": "Contact"},
}
TOKENS = ("Input", "Cached input", "Output", "Trained")
NONE = {"support_contact": "the operator"}


def tier_page(shown: TierList) -> HTMLResponse:
    """The page."""
    return page("tiers.html", shown=shown, sections=SECTIONS, tokens=TOKENS, allowed=allowed, costs=costs)


def allowed(tier: Tier, limit: str) -> str:
    """One limit in words."""
    value = getattr(tier, limit)
    if limit in ("fine_tuning_jobs", "training_price_factor") and not tier.fine_tuning:
        return "none"
    if value is None:
        return NONE.get(limit, "no limit")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if limit == "models":
        return "all"
    if limit.endswith("_discount") or limit == "training_price_factor":
        return percent(value)
    if "_bytes_" in limit:
        return size(value)
    if "_hours_" in limit:
        return f"{value} hours"
    if limit == "retention_days":
        return f"{value} days"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def size(count: int) -> str:
    """A size to the byte: "200 MiB", or "4,000 bytes" where that is no whole number."""
    for unit, unit_bytes in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count % unit_bytes == 0:
            return f"{count // unit_bytes:,} {unit}"
    return f"{count:,} bytes"


def costs(tier: Tier, model: ModelObject) -> dict[str, str]:
    """What a tier pays for a million tokens of a batch, and for training on them; empty where it does not
    have the model."""
    if not tier.permits(model.id):
        return {}
    listed = model.prices
    batch = Prices(listed.input, listed.cached_input, listed.output).less(tier.batch_discount)
    found = {"Input": batch.input, "Cached input": batch.cached_input, "Output": batch.output}
    if tier.fine_tuning and listed.training is not None:
        found["Trained"] = training_price_micros(listed.training, tier.training_price_factor)
    return {what: dollars(micros) for what, micros in found.items()}
