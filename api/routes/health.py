"""Whether this process lives, and whether the yard can take and run a batch."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
from fastapi import APIRouter, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.deps import YardDep
from api.schemas.wire import Wire
from api.yard import Yard
from orchestrator import clock
from orchestrator.database.tables import Lease
from orchestrator.errors import Unavailable

CHECK_SECONDS = 3.0
POOLS = ("cpu", "gpu")
PROBE_KEY = "health/probe"  # nothing is ever stored there

router = APIRouter(prefix="/health", tags=["Health"])


class Alive(Wire):
    """This process answers."""

    status: str = "alive"


class Readiness(Wire):
    """What a batch needs, each `ok` or what is wrong with it; `missing` names those that are not
    ok."""

    ready: bool
    missing: list[str]
    checks: dict[str, str]


class NotReady(Exception):
    """What is missing, in words."""


@router.get("/live")
def live() -> Alive:
    """Answers as long as the process does."""
    return Alive()


@router.get("/ready")
async def ready(response: Response, yard: YardDep) -> Readiness:
    """Whether a batch sent now would run; 503 if not, with what is missing."""
    checks = {
        "database": _database,
        "store": _store,
        "dispatcher": _dispatcher,
        "prefect": _prefect,
        "workers": _workers,
    }
    words = await asyncio.gather(*(_outcome(check, yard) for check in checks.values()))
    found = dict(zip(checks, words, strict=True))
    missing = [name for name, word in found.items() if word != "ok"]
    response.status_code = 503 if missing else 200
    return Readiness(ready=not missing, missing=missing, checks=found)


async def _outcome(check: Callable[[Yard], Awaitable[None]], yard: Yard) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check(yard)
    except NotReady as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} seconds"
    except (SQLAlchemyError, httpx.HTTPError, Unavailable) as error:
        return f"not reachable ({type(error).__name__})"
    return "ok"


async def _database(yard: Yard) -> None:
    def ask() -> None:
        with yard.database.read() as tx:
            tx.execute(text("SELECT 1"))

    await asyncio.to_thread(ask)


async def _store(yard: Yard) -> None:
    await yard.store.size(PROBE_KEY)


async def _dispatcher(yard: Yard) -> None:
    def lease() -> Lease | None:
        with yard.database.read() as tx:
            return tx.get(Lease, "dispatcher")

    held = await asyncio.to_thread(lease)
    if held is None or held.expires_at <= clock.now():
        raise NotReady("no dispatcher leads: start `python -m flows.dispatcher`")


async def _prefect(yard: Yard) -> None:
    answer = await yard.prefect.get("health")
    answer.raise_for_status()


async def _workers(yard: Yard) -> None:
    """At least one worker of each pool has sent Prefect a heartbeat lately."""
    for pool in POOLS:
        answer = await yard.prefect.post(f"work_pools/{pool}/workers/filter", json={})
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotReady(f"Prefect has no work pool {pool!r}: run `python -m flows.deployments`")
        answer.raise_for_status()
        if not any(worker.get("status") == "ONLINE" for worker in answer.json()):
            raise NotReady(f"no worker of pool {pool!r} is online")
