"""What the limits of synchronous requests cost: their statements beside bare ones of Postgres, from as many
processes and clients, and what they add to a request through the API."""

import asyncio
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import aiohttp
import httpx
from sqlalchemy import text
from sqlmodel import Session

from orchestrator import clock, ids
from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.engines.model import EngineStatus
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.limits import at_once
from orchestrator.limits import service as limits
from tests.benchmarks.running import RunningApi, apis_alone
from tests.benchmarks.table import Table
from tests.customer import CHAT
from tests.factories import make_engine, make_project
from tests.fakes import ScriptedEngine
from tests.yard_process import in_background

CLIENTS, PROCESSES = 50, 4
SECONDS, SECONDS_QUICK = 6.0, 1.5
API_SECONDS, API_SECONDS_QUICK = 120.0, 4.0
THINK_SECONDS = 1.0  # between two statements of a client that pauses, on average
API_THINK_SECONDS = 2.0
CONNECT_SECONDS = 4.0  # until every client of every process has its connection
UNDER_WAY_SECONDS = 900.0
PLENTY = 10**9
TOKENS_TAKEN, TOKENS_USED = 600, 25
LIMITS = (
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_day",
    "requests_at_once",
)
MODEL = "yard-smoke"
SELECT, UPDATE, OWN, ONE = "select", "update", "own", "one"
NAMES = {
    SELECT: "`SELECT 1` and a commit",
    UPDATE: "an `UPDATE` of one row of its own and a durable commit",
    OWN: "a check and its commit, each client of its own organization",
    ONE: "a check and its commit, all of one organization",
}
_BARE = "CREATE TABLE bare (id int PRIMARY KEY, value int NOT NULL)"

NOTES = f"""\
{CLIENTS} clients, a connection each, in {PROCESSES} processes on one Postgres with durable commits, all on
the same cores. A check is what a request has before an engine is asked, in one transaction: it counts itself
as under way and takes from all four rates. Its settling afterwards is not timed there. "at once": the next as
soon as the last has ended; "with pauses": {THINK_SECONDS:.0f} s on average between two. The last rows are
whole requests to {PROCESSES} processes of the API and a scripted engine that answers at once, {CLIENTS}
clients that pause {API_THINK_SECONDS:.0f} s on average; each client sends every other request for an
organization all of whose limits a contract has lifted, so both meet the same moments."""


@dataclass(frozen=True)
class Share:
    """Of the clients those of one process, from `begin` on, by the monotonic clock of the machine."""

    url: str
    kind: str
    callers: Sequence[limits.Caller]
    numbers: Sequence[int]
    begin: float
    seconds: float
    think_seconds: float


@dataclass(frozen=True)
class Load:
    """Requests of each client in turn with the two keys it has: with limits, and without."""

    urls: Sequence[str]
    keys: Sequence[tuple[str, str]]
    seconds: float


def measure(*, quick: bool) -> Table:
    """Statements first, then requests."""
    rows = _statements(SECONDS_QUICK if quick else SECONDS)
    with in_background(ScriptedEngine()) as engine, apis_alone(PROCESSES) as apis:
        _add_engine(apis[0], engine)
        rows += _requests(apis, API_SECONDS_QUICK if quick else API_SECONDS)
    return Table(
        title=f"Limits, {CLIENTS} clients of {PROCESSES} processes",
        columns=("", "at once", "to the bare `UPDATE`", "with pauses, p50", "p95", "to the bare `UPDATE`"),
        rows=rows,
        notes=NOTES,
    )


def _statements(seconds: float) -> list[list[str]]:
    with (
        tempfile.TemporaryDirectory(prefix="yard-bench-postgres-") as cluster,
        EmbeddedPostgres(Path(cluster), durable=True) as postgres,
        ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes,
    ):
        postgres.create_database("limits")
        url = postgres.url("limits")
        migrate(url)
        callers = _callers(url)
        list(processes.map(run_share, [Share(url, SELECT, callers, [0], 0.0, 0.0, 0.0)] * PROCESSES))  # start
        rates: dict[str, float] = {}
        paused: dict[str, list[float]] = {}
        for kind in NAMES:
            for think in (0.0, THINK_SECONDS):
                begin = time.monotonic() + CONNECT_SECONDS
                shares = [
                    Share(url, kind, callers, range(CLIENTS)[nth::PROCESSES], begin, seconds, think)
                    for nth in range(PROCESSES)
                ]
                took = sorted(each for found in processes.map(run_share, shares) for each in found)
                if think:
                    paused[kind] = took
                else:
                    rates[kind] = len(took) / seconds
    return [
        [
            name,
            f"{rates[kind]:,.0f}/s",
            f"{rates[kind] / rates[UPDATE]:.2f}",
            f"{_p50(paused[kind]) * 1e3:.1f} ms",
            f"{_p95(paused[kind]) * 1e3:.1f} ms",
            f"{_p50(paused[kind]) / _p50(paused[UPDATE]):.2f}",
        ]
        for kind, name in NAMES.items()
    ]


def _callers(url: str) -> list[limits.Caller]:
    """One of each organization, with all limits in force and none near."""
    tier = Tiers.load()["enterprise"].model_copy(update=dict.fromkeys(LIMITS, PLENTY))
    database = Database(url)
    with database.transaction() as tx:
        tx.execute(text(_BARE))
        callers = []
        for number in range(CLIENTS):
            tx.execute(text("INSERT INTO bare VALUES (:id, 0)"), {"id": number})
            project = make_project(tx)
            callers.append(limits.Caller(project.organization_id, project.id, tier))
    database.close()
    return callers


def run_share(share: Share) -> list[float]:
    """The seconds that each statement took, of all clients of this process, a thread each."""
    database, tiers = Database(share.url), Tiers.load()
    connected = threading.Barrier(len(share.numbers))

    def client(number: int) -> list[float]:
        caller = share.callers[0 if share.kind == ONE else number]
        pauses = Random(number)
        with database.transaction() as tx:
            tx.execute(text("SELECT 1"))
            connected.wait()  # so each has taken a connection of its own
        time.sleep(max(0.0, share.begin - time.monotonic()) + pauses.uniform(0, share.think_seconds))
        took: list[float] = []
        while (began := time.monotonic()) < share.begin + share.seconds:
            settle = _once(database, share.kind, number, caller, tiers)
            took.append(time.monotonic() - began)
            if settle is not None:
                with database.transaction() as tx:
                    settle(tx)
            time.sleep(pauses.uniform(0, 2 * share.think_seconds))
        return took

    with ThreadPoolExecutor(len(share.numbers)) as threads:
        found = [seconds for one in threads.map(client, share.numbers) for seconds in one]
    database.close()
    return found


def _once(
    database: Database, kind: str, number: int, caller: limits.Caller, tiers: Tiers
) -> Callable[[Session], None] | None:
    """One transaction, and what is to follow it untimed."""
    with database.transaction() as tx:
        if kind == SELECT:
            tx.execute(text("SELECT 1"))
            return None
        if kind == UPDATE:
            tx.execute(text("UPDATE bare SET value = value + 1 WHERE id = :id"), {"id": number})
            return None
        return _checked(tx, caller, caller.tier, tiers)


def _checked(tx: Session, caller: limits.Caller, tier: Tier, tiers: Tiers) -> Callable[[Session], None]:
    """As a request is admitted."""
    id = ids.new("req_")
    at_once.begin(
        tx,
        id,
        organization_id=caller.organization_id,
        project_id=caller.project_id,
        limit="requests_at_once",
        allowed=tier.requests_at_once,
        seconds=UNDER_WAY_SECONDS,
        more="",
    )
    taken = limits.take(tx, caller, MODEL, tokens=TOKENS_TAKEN, tiers=tiers)

    def settle(after: Session) -> None:
        at_once.end(after, id)
        limits.settle(after, taken, tokens=TOKENS_USED)

    return settle


def _add_engine(api: RunningApi, url: str) -> None:
    """The row of one that answers, and is not missed for an hour."""
    database = Database(EmbeddedPostgres(api.home / "postgres", durable=True).url("yard"))
    with database.transaction() as tx:
        make_engine(
            tx,
            model=MODEL,
            status=EngineStatus.READY,
            url=url,
            heartbeat_at=clock.now() + timedelta(hours=1),
        )
    database.close()


def _requests(apis: Sequence[RunningApi], seconds: float) -> list[list[str]]:
    keys = [
        (_customer(apis[0], f"limited {number}", PLENTY), _customer(apis[0], f"free {number}", None))
        for number in range(CLIENTS)
    ]
    load = Load([api.url for api in apis], keys, seconds)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        limited, free = process.submit(run, load).result()
    added = _p50(limited) - _p50(free), _p95(limited) - _p95(free)
    return [
        ["a whole request, without limits", "", "", *_milliseconds(_p50(free), _p95(free)), ""],
        ["the same with all limits", "", "", *_milliseconds(_p50(limited), _p95(limited)), ""],
        [
            "**what limits add**",
            "",
            "",
            *_milliseconds(*added),
            f"{_p50(limited) / _p50(free):.2f} of without",
        ],
    ]


def _milliseconds(*seconds: float) -> list[str]:
    return [f"{each * 1e3:.1f} ms" for each in seconds]


def _customer(api: RunningApi, name: str, limit: int | None) -> str:
    """A key of a new organization with a contract: this for every limit of synchronous requests."""
    headers = {"Authorization": f"Bearer {api.keys['operator']}"}
    with httpx.Client(base_url=f"{api.url}/v1", headers=headers, trust_env=False) as operator:

        def post(path: str, body: Mapping[str, object]) -> dict[str, str]:
            answer: dict[str, str] = operator.post(path, json=body).raise_for_status().json()
            return answer

        own = f"/organizations/{post('/organizations', {'name': name, 'tier': 'enterprise'})['id']}"
        post(f"{own}/limits", {"limits": dict.fromkeys(LIMITS, limit)})
        return post(f"{own}/api_keys", {"name": name})["key"]


def run(load: Load) -> tuple[list[float], list[float]]:
    """Carry the load, in this process; the seconds of each request with limits, and of each without."""
    return asyncio.run(_clients(load))


async def _clients(load: Load) -> tuple[list[float], list[float]]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        deadline = time.monotonic() + load.seconds
        found = await asyncio.gather(*(_client(session, load, n, deadline) for n in range(CLIENTS)))
    limited, free = (sorted(took for one in found for took in one[nth]) for nth in (0, 1))
    return limited, free


async def _client(
    session: aiohttp.ClientSession, load: Load, number: int, deadline: float
) -> tuple[list[float], list[float]]:
    pauses = Random(number)
    took: tuple[list[float], list[float]] = ([], [])
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    url = load.urls[number % len(load.urls)] + CHAT
    turn = number % 2
    for warm_up in (True, False):
        await asyncio.sleep(pauses.uniform(0, API_THINK_SECONDS))
        while (began := time.monotonic()) < deadline:
            turn = 1 - turn
            headers = {"Authorization": f"Bearer {load.keys[number][turn]}"}
            async with session.post(url, json=body, headers=headers) as response:
                answer = await response.read()
                assert response.status == 200, answer
            if warm_up:
                break
            took[turn].append(time.monotonic() - began)
            await asyncio.sleep(pauses.uniform(0, 2 * API_THINK_SECONDS))
    return took


def _p50(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2]


def _p95(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) * 95 // 100]
