"""The adapters of one engine while it serves: those that batches want are brought from the store and loaded
by name, idle ones make room. Woken when one is first wanted, published or deleted, and by the clock.

Rows first: what shall go is taken from the rows, so that drivers send it nothing more, and only then from the
engine; what is loaded is in the rows only once the engine answers to its name.
"""

import asyncio
import contextlib
from pathlib import Path

import structlog
from sqlalchemy.exc import OperationalError

from flows.composition import Yard
from orchestrator.adapters import cache as adapter_cache
from orchestrator.adapters.model import CHANNEL, Adapter
from orchestrator.adapters.store import AdapterDamaged, fetch_adapter
from orchestrator.database.listen import listen
from orchestrator.engines import adapters
from orchestrator.engines.adapters import Orders
from orchestrator.engines.model import Engine
from orchestrator.storage.store import ObjectMissing, StoreUnavailable
from workers.inference.server import AdapterRefused, EngineFailed, EngineServer

REVIEW_SECONDS = 2.0
FETCHES_MAX = 4  # at once

log = structlog.get_logger()


async def keep_adapters(here: Yard, engine_id: str, server: EngineServer, loaded_max: int) -> None:
    """Load and unload as it is wanted, until cancelled."""
    woken = asyncio.Event()
    listening = asyncio.create_task(_listen(here, woken))
    try:
        while True:
            woken.clear()
            try:
                await review(here, engine_id, server, loaded_max)
            except (OperationalError, EngineFailed) as error:  # whoever watches the engine judges it
                log.warning("adapters_not_reviewed", engine=engine_id, error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), REVIEW_SECONDS)
    finally:
        listening.cancel()


async def _listen(here: Yard, woken: asyncio.Event) -> None:
    async for _ in listen(here.database.url, [CHANNEL]):
        woken.set()


async def review(here: Yard, engine_id: str, server: EngineServer, loaded_max: int) -> None:
    """One look at what is wanted, and what follows from it. Raises EngineFailed where it does not answer."""
    orders = await asyncio.to_thread(_orders, here, engine_id, loaded_max)
    if not orders.load and not orders.unload:
        return
    for name in await server.adapters() - orders.keep:
        await server.unload_adapter(name)
    fetching = asyncio.Semaphore(FETCHES_MAX)
    await asyncio.gather(*(_load(here, engine_id, server, one, fetching) for one in orders.load))
    if orders.load:
        await asyncio.to_thread(_prune, here)


def _orders(here: Yard, engine_id: str, loaded_max: int) -> Orders:
    with here.database.transaction() as tx:
        return adapters.review(tx, tx.get_one(Engine, engine_id), loaded_max=loaded_max)


async def _load(
    here: Yard, engine_id: str, server: EngineServer, adapter: Adapter, fetching: asyncio.Semaphore
) -> None:
    """One adapter, from the store to its row. While the store is away it waits for the next look."""
    try:
        async with fetching:
            folder = await fetch_adapter(here.store, adapter, _cache(here))
            await asyncio.to_thread(adapter_cache.touch, folder)
        await server.load_adapter(adapter.id, folder)
    except StoreUnavailable as error:
        log.warning("adapter_not_fetched", engine=engine_id, adapter=adapter.id, error=str(error))
        return
    except (AdapterRefused, AdapterDamaged, ObjectMissing) as error:
        log.warning("adapter_refused", engine=engine_id, adapter=adapter.id, error=str(error))
        await asyncio.to_thread(_refused, here, engine_id, adapter.id, str(error))
        return
    log.info("adapter_loaded", engine=engine_id, adapter=adapter.id)
    await asyncio.to_thread(_loaded, here, engine_id, adapter.id)


def _loaded(here: Yard, engine_id: str, adapter_id: str) -> None:
    with here.database.transaction() as tx:
        adapters.loaded(tx, engine_id, adapter_id)


def _refused(here: Yard, engine_id: str, adapter_id: str, reason: str) -> None:
    with here.database.transaction() as tx:
        adapters.refused(tx, engine_id, adapter_id, reason)


def _prune(here: Yard) -> None:
    with here.database.read() as tx:
        in_use = adapters.digests_in_use(tx)
    adapter_cache.prune(_cache(here), in_use=in_use)


def _cache(here: Yard) -> Path:
    return here.settings.absolute_home() / "cache" / "adapters"
