"""An adapter that a customer brings: out of its ZIP, looked at, and into the store."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.adapters import archive, card, servable, tensors
from orchestrator.adapters.model import WEIGHTS
from orchestrator.adapters.store import StoredAdapter, put_adapter
from orchestrator.entitlements import checks
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid
from orchestrator.models.registry import ModelSpec, Registry
from orchestrator.storage.store import ObjectStore
from orchestrator.storage.threads import in_thread


def base_model(name: str, *, registry: Registry, tiers: Tiers, tier: Tier) -> ModelSpec:
    """The base model that an adapter is brought for. Raises NotEntitled where the tier has no fine-tuning or
    not this model, Invalid where it takes no adapters."""
    checks.require(checks.fine_tuning_allowed(tiers, tier, model=name))
    spec = registry.get(name)
    if spec is None or spec.lora is None:
        those = [known.id for known in registry.all() if known.lora and tier.permits(known.id)]
        fault = "takes no adapters" if spec else "does not exist"
        raise Invalid(
            f"The model '{name[:256]}' {fault}. Models that take adapters: {', '.join(those) or 'none'}.",
            code="model_not_supported" if spec else "model_not_found",
            param="base_model",
        )
    checks.require(checks.model_permitted(tiers, tier, name, param="base_model"))
    return spec


async def take_in(
    store: ObjectStore,
    key: str,
    *,
    organization_id: str,
    import_id: str,
    file_id: str,
    spec: ModelSpec,
    bytes_max: int,
    scratch: Path,
) -> tuple[StoredAdapter, dict[str, Any]]:
    """Check the ZIP under `key` and store the adapter in it; returns it and its model card. Nothing is stored
    before everything is checked, and nothing stays in `scratch`.

    Raises Invalid, ObjectMissing, StoreUnavailable."""
    with TemporaryDirectory(dir=scratch) as name:
        files = Path(name) / "adapter"
        async with store.local_copy(key, Path(name)) as zipped:
            config = await in_thread(_open, zipped, files, spec, bytes_max)
        written = card.imported(base_model=spec.id, config=config, input_file_id=file_id)
        return await put_adapter(store, organization_id, import_id, files, written), written


def _open(zipped: Path, folder: Path, spec: ModelSpec, bytes_max: int) -> dict[str, Any]:
    most = tensors.bytes_max(spec, otherwise=bytes_max)
    config = archive.unpack(zipped, folder, weights_bytes_max=most)
    servable.check(config, spec)
    tensors.check(folder / WEIGHTS, config, spec)
    return config
