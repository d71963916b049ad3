"""What every flow of this process shares: opened once, at first use, from the settings."""

import functools
from dataclasses import dataclass
from pathlib import Path

from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.models.registry import Registry
from orchestrator.settings import Settings
from orchestrator.storage.open import open_store
from orchestrator.storage.store import ObjectStore


@dataclass(frozen=True)
class Yard:
    """The yard as a flow sees it. `preparations` reads batches apart from the event loop, in one child
    process, so that hundreds of batch drivers go on while a large file is being read; `datasets` does the
    same for fine-tuning, so that neither waits for the other."""

    settings: Settings
    database: Database
    store: ObjectStore
    tiers: Tiers
    registry: Registry
    preparations: ChildPool
    datasets: ChildPool
    scratch: Path

    def close(self) -> None:
        """Give back what the process holds."""
        self.preparations.close()
        self.datasets.close()
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
    registry = Registry.load(settings.models_file, home=home)
    return Yard(
        settings=settings,
        database=Database(settings.database_url.get_secret_value()),
        store=open_store(settings),
        tiers=Tiers.load(settings.tiers_file).priced(registry.prices()),
        registry=registry,
        preparations=ChildPool(),
        datasets=ChildPool(),
        scratch=scratch,
    )
