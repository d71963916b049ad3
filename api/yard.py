"""What every request of this process shares, opened once by the lifespan in `api.app`."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from api.slots import Slots
from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database
from orchestrator.entitlements.effective import contracted, lowered
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.models.registry import Registry
from orchestrator.organizations.principal import Principal
from orchestrator.settings import Settings
from orchestrator.storage.store import ObjectStore


@dataclass(frozen=True)
class Yard:
    """The yard as the API sees it. `preparations` reads a whole batch file in a child process, `datasets`
    those of a fine-tuning job in another. The slots bound how many of those, of adapters being brought and of
    synchronous requests one organization has under way in this process. `prefect` asks the Prefect server for
    its health, nothing else; `engines` sends synchronous requests."""

    settings: Settings
    database: Database
    store: ObjectStore
    tiers: Tiers
    registry: Registry
    scratch: Path
    preparations: ChildPool
    preparation_slots: Slots
    datasets: ChildPool
    dataset_slots: Slots
    import_slots: Slots
    request_slots: Slots
    prefect: httpx.AsyncClient
    engines: httpx.AsyncClient

    def tier(self, caller: Principal) -> Tier:
        """The limits that are in force for whoever asks: the tier's, its contract's, its project's."""
        return lowered(self.contracted(caller), caller.project_limits)

    def contracted(self, caller: Principal) -> Tier:
        """Those that are in force for the caller's whole organization."""
        return contracted(self.tiers[caller.tier], caller.contract, caller.support_contact)
