"""What placement looks at: what is wanted, what runs, what waits for GPUs, what is reserved. Plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.engines.model import EngineStatus

COUNTED = (EngineStatus.REQUESTED, EngineStatus.STARTING, EngineStatus.READY)  # there, or on their way


@dataclass(frozen=True)
class Wanted:
    """What running batches want of one base model and its adapters, all of them together."""

    model: str
    lines: int
    priority: int  # of the most urgent batch; smaller is sooner
    since: datetime  # when its lines began to wait, anew each time its engine was put aside
    gpus: int
    capacity: int
    idle_seconds: int
    lora: bool = False  # some lines name an adapter
    reserved: int = 0  # engines that organizations with lines here have reserved
    trial: bool = False  # no batch wants it: somebody has asked for it in a synchronous request of late


@dataclass(frozen=True)
class Running:
    """One live engine."""

    id: str
    model: str
    status: EngineStatus
    gpus: int
    ready_at: datetime | None
    needed_at: datetime
    idle_seconds: int
    lora: bool = False


@dataclass(frozen=True)
class Training:
    """One training that waits for GPUs, or has them. Until it is `due` it takes none."""

    job_id: str
    base: str
    gpus: int
    priority: int
    since: datetime
    due: bool = True
    organization_id: str = ""  # whose reserved GPUs it may have


@dataclass(frozen=True)
class Reserved:
    """GPUs of all engines that one organization has reserved of a model, with or without work for them."""

    organization_id: str
    gpus: int


@dataclass(frozen=True)
class Failures:
    """Engines of one model that failed since the last one that became ready."""

    count: int
    last_at: datetime
    last_words: str


Claim = Wanted | Training


def serving(want: Wanted, running: Sequence[Running]) -> list[Running]:
    """Engines there are or will be that take all of its lines."""
    return [e for e in running if e.model == want.model and e.status in COUNTED and (e.lora or not want.lora)]


def of_model(model: str, running: Sequence[Running]) -> list[Running]:
    """Its engines that there are or will be."""
    return [e for e in running if e.model == model and e.status in COUNTED]


def owed(claim: Claim, running: Sequence[Running]) -> bool:
    """Whether it wants an engine that is reserved for whoever has the work."""
    return isinstance(claim, Wanted) and len(of_model(claim.model, running)) < claim.reserved


def kept(demand: Mapping[str, Wanted], running: Sequence[Running]) -> set[str]:
    """The engines that are put aside for nobody: as many as are reserved, those that answer first."""
    found: set[str] = set()
    for want in demand.values():
        own = sorted(of_model(want.model, running), key=lambda e: (e.status is not EngineStatus.READY, e.id))
        found |= {e.id for e in own[: want.reserved]}
    return found
