"""What every flow of this process shares: opened once, at first use, from the settings."""

import functools
from dataclasses import dataclass
from pathlib import Path

from orchestrator.batches.preparation_pool import PreparationPool
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.models.registry import Registry
from orchestrator.settings import Settings
from orchestrator.storage.open import open_store
from orchestrator.storage.store import ObjectStore


@dataclass(frozen=True)
class Yard:
    """The yard as a flow sees it. `preparations` runs validation apart from the event loop, in one child
    process, so that hundreds of batch drivers go on while a large file is being read."""

    settings: Settings
    database: Database
    store: ObjectStore
    tiers: Tiers
    registry: Registry
    preparations: PreparationPool
    scratch: Path

    def close(self) -> None:
        """Give back what the process holds."""
        self.preparations.close()
        self.database.close()


@functools.cache
def yard() -> Yard:
    """This process's yard."""
    settings = Settings()
    if settings.database_url is None:
        raise RuntimeError("YARD_DATABASE_URL is not set: start with `yard up`, or point it at Postgres")
    home = settings.absolute_home()
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return Yard(
        settings=settings,
        database=Database(settings.database_url.get_secret_value()),
        store=open_store(settings),
        tiers=Tiers.load(settings.tiers_file),
        registry=Registry.load(settings.models_file, home=home),
        preparations=PreparationPool(),
        scratch=scratch,
    )
