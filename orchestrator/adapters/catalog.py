"""What a model's name stands for: a base model, or an adapter over one."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from orchestrator.adapters.model import Adapter
from orchestrator.adapters.service import is_seen_by
from orchestrator.entitlements import checks
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.entitlements.verdicts import Verdict
from orchestrator.models.registry import ModelSpec, Registry

PREFIX = "ft:"
_ASKED_AT_ONCE = 1_000


@dataclass(frozen=True)
class ServedModel:
    """A model that requests may name. `spec` is its base's, whose engines, prices and context it has."""

    id: str
    spec: ModelSpec
    adapter: Adapter | None = None

    @property
    def base(self) -> str:
        """The model whose engines serve it."""
        return self.spec.id


def resolve(
    tx: Session,
    registry: Registry,
    names: Iterable[str],
    *,
    organization_id: str,
    deleted_too: bool = False,
) -> dict[str, ServedModel]:
    """What each name stands for, for this organization. A name that it may not see is missing, and so is an
    adapter whose base is gone from the registry, is another organization's or serves none.

    `deleted_too` is for what was admitted already: a deleted adapter goes on for the batches that name it,
    and so does a base model that is another organization's now.
    """
    if not deleted_too:
        registry = registry.seen_by(organization_id)
    wanted = list(dict.fromkeys(names))
    found = {name: ServedModel(name, spec) for name in wanted if (spec := registry.get(name)) is not None}
    adapters = [name for name in wanted if name not in found and name.startswith(PREFIX)]
    seen = is_seen_by(organization_id, deleted_too=deleted_too)
    for start in range(0, len(adapters), _ASKED_AT_ONCE):
        asked = adapters[start : start + _ASKED_AT_ONCE]
        for adapter in tx.exec(select(Adapter).where(col(Adapter.id).in_(asked), seen)):
            spec = registry.get(adapter.base_model)
            if spec is not None and spec.lora is not None:
                found[adapter.id] = ServedModel(adapter.id, spec, adapter)
    return found


def usable(
    tiers: Tiers, tier: Tier, model: ServedModel, *, organization_id: str, param: str = "model"
) -> Verdict:
    """Whether something new of an organization in this tier may name the model. An adapter that the yard's
    operator shares is as a base model; of its own adapters a tier without fine-tuning uses none."""
    adapter = model.adapter
    if adapter is None or adapter.shared or adapter.organization_id != organization_id or tier.fine_tuning:
        return checks.model_permitted(tiers, tier, model.base, param=param)
    return checks.own_adapter_refused(tiers, tier, model.id, model.base, param=param)
