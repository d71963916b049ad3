"""Prices in time: the public list, an organization's own, and what is in force for it just now.

A list is never changed; the next one takes its place. What was quoted is kept with the batch or the job, so
a new list is for what is validated from then on.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.metering.model import PriceList
from orchestrator.metering.prices import Prices, training_price_micros

NOTING = 0x707269636573  # the advisory lock of whoever adds a list ("prices")


def current(tx: Session, public: Mapping[str, Prices], *, organization_id: str | None) -> dict[str, Prices]:
    """What each base model costs an organization now: by its own list, else by the public one as it was
    noted last, else, for a model that nobody has noted yet, by `public`, which is `Registry.prices()`. With
    None what it costs those who have no list of their own."""
    latest = tx.exec(
        select(PriceList)
        .where(
            or_(col(PriceList.organization_id).is_(None), col(PriceList.organization_id) == organization_id)
        )
        .distinct(col(PriceList.organization_id))
        .order_by(col(PriceList.organization_id), col(PriceList.effective_at).desc())
    ).all()
    in_force = dict(public)
    for listed in sorted(latest, key=lambda row: row.organization_id is not None):
        for model, prices in prices_of(listed).items():
            earlier = in_force.get(model)
            if prices.training is None and earlier is not None:
                prices = replace(prices, training=earlier.training)
            in_force[model] = prices
    return in_force


def training_price_now(
    tx: Session, public: Mapping[str, Prices], *, organization_id: str, model: str, factor: float
) -> int:
    """Micro-dollars per million tokens trained on a base model now, in a tier with this factor."""
    listed = current(tx, public, organization_id=organization_id)[model].training
    return training_price_micros(listed or 0, factor)


def note_public(tx: Session, public: Mapping[str, Prices]) -> PriceList | None:
    """Keep the public list if it is another one than was noted last: since when, and what it says. Every
    process that reads models.toml may ask; None where nothing is new."""
    return _add(tx, public, organization_id=None, actor="system")


def set_own(
    tx: Session, prices: Mapping[str, Prices], *, organization_id: str, actor: str
) -> PriceList | None:
    """An organization's own prices from now on; models that it leaves out, and all of them where it is empty,
    have the public ones. None where that is its list already. `actor` is the key that asks."""
    before = own(tx, organization_id)
    made = _add(tx, prices, organization_id=organization_id, actor=actor)
    if made is not None:
        audit.record(
            tx,
            Action.PRICES_UPDATED,
            organization_id=organization_id,
            actor=actor,
            subject_id=made.id,
            before=before.prices if before else {},
            after=made.prices,
        )
    return made


def own(tx: Session, organization_id: str | None) -> PriceList | None:
    """An organization's own list in force, or with None the public one; None where there is none."""
    theirs = col(PriceList.organization_id).is_not_distinct_from(organization_id)
    latest = select(PriceList).where(theirs).order_by(col(PriceList.effective_at).desc())
    return tx.exec(latest.limit(1)).first()


def prices_of(listed: PriceList) -> dict[str, Prices]:
    """What a list says, by base model."""
    return {model: Prices(**prices) for model, prices in listed.prices.items()}


def _add(
    tx: Session, prices: Mapping[str, Prices], *, organization_id: str | None, actor: str
) -> PriceList | None:
    """A new list, unless the latest is the same; one at a time, so that two processes add it once."""
    tx.execute(select(func.pg_advisory_xact_lock(NOTING)))
    kept = {model: _known(of_model) for model, of_model in prices.items()}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    latest = own(tx, organization_id)
    if latest.digest == digest if latest else not kept:
        return None
    listed = PriceList(
        id=ids.new("price_"),
        organization_id=organization_id,
        prices=kept,
        digest=digest,
        actor=actor,
        effective_at=clock.now(),
    )
    tx.add(listed)
    tx.flush()
    return listed


def _known(prices: Prices) -> dict[str, int]:
    return {name: price for name, price in asdict(prices).items() if price is not None}
