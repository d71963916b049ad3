"""Why lines of a running batch do not move: what they wait for, and what will never come."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from sqlmodel import Session

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches.sharing import Serving
from orchestrator.engines import service as engines
from orchestrator.engines.placement import FAILURES_MAX
from orchestrator.metering.prices import dollars
from orchestrator.spending.standing import Standing

NAMES_SHOWN = 3  # of adapters that wait


def given_up(tx: Session, bases: Sequence[str]) -> str | None:
    """What the engine of a base model said last, if no engine for that model can be started."""
    since = clock.now() - timedelta(seconds=engines.HISTORY_SECONDS)
    for base, failed in engines.failures(tx, bases, since=since).items():
        if failed.count >= FAILURES_MAX:
            return f"{base}: {failed.last_words}"
    return None


def waiting_for(
    tx: Session, models: Iterable[ServedModel], now: Serving, *, served: Collection[str]
) -> str | None:
    """What lines of these models wait for, in words: engines, then adapters. None where all are `served`."""
    waiting = [model for model in models if model.id not in served]
    up = {engine.model for engine in now.engines}
    with_lora = {engine.model for engine in now.engines if engine.lora}
    told = []
    if missing := sorted({model.base for model in waiting} - up):
        told.append(_engines(tx, missing))
    if plain := sorted({model.base for model in waiting} & (up - with_lora)):
        told.append(f"an engine for {', '.join(plain)} that takes adapters")
    if loading := sorted(model.id for model in waiting if model.base in with_lora):
        others = len(loading) - NAMES_SHOWN
        more = f" and {others} more" if others > 0 else ""
        told.append(f"{', '.join(loading[:NAMES_SHOWN])}{more} to be loaded")
    return "; ".join(told) or None


def for_money(limit: Standing) -> str:
    """What a batch waits for that has spent what it was granted, while others hold the rest."""
    return (
        f"the {dollars(limit.unspent)} that other running work holds of the spend limit of "
        f"{dollars(limit.limit.cap_micros)} a month"
    )


def _engines(tx: Session, missing: Sequence[str]) -> str:
    live = [engine for engine in engines.live(tx) if engine.model in missing]
    if not live:
        return f"a GPU for {', '.join(missing)}"
    return "; ".join(f"the engine for {engine.model}, which is {engine.status}" for engine in live)
