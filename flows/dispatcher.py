"""The dispatcher: turns what the database wants into Prefect flow runs.

One active, elected by a lease row; the others stand by. Woken by NOTIFY, and by the clock. Each tick:
rescue jobs whose holder died, hand out queued jobs as flow runs, place engines, look after remote ones, and
now and then put Prefect's run states right from ours. While Prefect is away nothing is lost: jobs wait.
Webhooks are sent beside all this.

    python -m flows.dispatcher
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping

import structlog
from prefect.client.orchestration import PrefectClient, get_client
from sqlalchemy.exc import OperationalError

from flows.beside import beside
from flows.composition import Yard, yard
from flows.job_runs import hand_out
from flows.placing import place_engines, watch_remote_engines
from flows.reconcile import reconcile
from flows.runs import PREFECT_AWAY
from flows.unbegun import notice_unbegun
from flows.webhook_delivery import deliver
from orchestrator import ids, telemetry
from orchestrator.batches import progress as batches
from orchestrator.database import leases
from orchestrator.database.listen import listen
from orchestrator.engines import sandbox
from orchestrator.engines import service as engines
from orchestrator.fine_tuning import progress as fine_tuning
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.jobs.retry import FailureReason
from orchestrator.metering import price_lists
from orchestrator.webhooks import events as webhooks

log = structlog.get_logger()

LEADER = "dispatcher"
LEADER_SECONDS = 10
TICK_SECONDS = 1.0
REST_SECONDS = 4.0  # while there is neither a job nor an engine; a new job wakes us
AHEAD_MAX = 50  # flow runs created and not yet begun: the rest waits here, in our order
CLAIMS_MAX = 10  # jobs handed out in one tick, which must end well before our lead does
RECONCILE_SECONDS = 10.0


async def main() -> None:
    """Dispatch until SIGTERM or SIGINT."""
    telemetry.configure("dispatcher")
    here = yard()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    woken, told = asyncio.Event(), asyncio.Event()
    wakes = {jobs.CHANNEL: woken, sandbox.CHANNEL: woken, webhooks.CHANNEL: told}
    listening = asyncio.create_task(_listen(here, wakes))
    try:
        async with get_client() as prefect:
            await beside(_lead(here, prefect, woken, stopping), deliver(here, told))
    finally:
        listening.cancel()
        here.close()


async def _listen(here: Yard, wakes: Mapping[str, asyncio.Event]) -> None:
    async for channel in listen(here.database.url, list(wakes)):
        wakes[channel].set()


async def _lead(here: Yard, prefect: PrefectClient, woken: asyncio.Event, stopping: asyncio.Event) -> None:
    """Tick while we are the leader; ask to become it while we are not."""
    token = ids.new("lease_")
    reconciled = float("-inf")
    noted = False
    suspects: frozenset[str] = frozenset()
    while not stopping.is_set():
        woken.clear()
        pause = TICK_SECONDS
        try:
            if await asyncio.to_thread(_elected, here, token):
                if not noted:
                    await asyncio.to_thread(_note_prices, here)
                    noted = True
                if await tick(here, prefect):
                    woken.set()
                if await asyncio.to_thread(_at_rest, here):
                    pause = REST_SECONDS
                if time.monotonic() - reconciled > RECONCILE_SECONDS:
                    suspects = await reconcile(here.database, prefect, suspects)
                    reconciled = time.monotonic()
        except OperationalError as error:
            log.warning("database_away", error=type(error.orig).__name__)
        except PREFECT_AWAY as error:
            log.warning("prefect_away", error=type(error).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_either(woken, stopping), pause)
    with contextlib.suppress(OperationalError), here.database.transaction() as tx:
        leases.release(tx, LEADER, token)  # or, with the database gone, let it run out


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.create_task(first.wait()), asyncio.create_task(second.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _elected(here: Yard, token: str) -> bool:
    with here.database.transaction() as tx:
        return leases.acquire(tx, LEADER, token, LEADER_SECONDS)


def _note_prices(here: Yard) -> None:
    """Whoever leads says what is charged: its models.toml is the public price list."""
    with here.database.transaction() as tx:
        price_lists.note_public(tx, here.registry.prices())


def _at_rest(here: Yard) -> bool:
    with here.database.read() as tx:
        return not jobs.unfinished(tx) and not engines.live(tx)


async def tick(here: Yard, prefect: PrefectClient) -> bool:
    """One round of everything that the dispatcher does. True if the next one should follow at once."""
    await asyncio.to_thread(_rescue, here)
    dispatched = await dispatch_jobs(here, prefect)
    await place_engines(here, prefect)
    await watch_remote_engines(here)
    await notice_unbegun(here.database, prefect)
    return dispatched == CLAIMS_MAX


def _rescue(here: Yard) -> None:
    with here.database.transaction() as tx:
        rescued = jobs.rescue(tx, limit=AHEAD_MAX)
        for job in rescued:
            if job.kind is not JobKind.BATCH:
                fine_tuning.rescued(tx, job)
            elif job.status is JobStatus.FAILED:
                batches.give_up(tx, job.resource_id, reason=FailureReason.WORKER_LOST)
    for job in rescued:
        log.warning("job_rescued", job=job.id, attempt=job.attempt, status=str(job.status))


async def dispatch_jobs(here: Yard, prefect: PrefectClient) -> int:
    """A flow run for each queued job that is due and needs no GPU, most urgent first, one after another;
    how many. Those that need one get theirs from placement.

    Prefect's server makes some thirty runs a second whatever the concurrency, and a queue of its own would
    hide the order from us: so at most `AHEAD_MAX` runs wait there.
    """
    claimed = await asyncio.to_thread(_claim, here)
    await hand_out(here, prefect, claimed)
    return len(claimed)


def _claim(here: Yard) -> list[Job]:
    with here.database.transaction() as tx:
        return jobs.claim(tx, limit=min(CLAIMS_MAX, max(0, AHEAD_MAX - jobs.waiting(tx))))


if __name__ == "__main__":
    asyncio.run(main())
