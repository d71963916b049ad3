"""For whoever runs the yard: what an organization pays, where that is not the public list."""

from dataclasses import asdict

from fastapi import APIRouter
from sqlmodel import Session

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.schemas.price_lists import PriceListObject, SetPriceList
from api.yard import Yard
from orchestrator import clock
from orchestrator.errors import Invalid
from orchestrator.metering import price_lists
from orchestrator.metering.prices import Prices
from orchestrator.organizations import service as organizations

router = APIRouter(prefix="/organizations", tags=["Operator"])


@router.get("/{organization_id}/prices")
def retrieve_price_list(organization_id: str, tx: Read, yard: YardDep) -> PriceListObject:
    """What an organization pays for each base model now."""
    return _shown(tx, yard, organizations.get(tx, organization_id).id)


@router.post("/{organization_id}/prices")
def set_price_list(
    organization_id: str, body: SetPriceList, tx: Transaction, yard: YardDep, caller: Caller
) -> PriceListObject:
    """Give an organization a price list of its own, in place of the one it had; an empty one takes it back.
    It holds for what is validated from now on: a batch is charged what it was quoted."""
    organization = organizations.get(tx, organization_id)
    unknown = [model for model in body.prices if yard.registry.get(model) is None]
    if unknown:
        raise Invalid(f"This yard has no base model '{unknown[0]}'.", param="prices")
    prices = {model: Prices(**listed.model_dump()) for model, listed in body.prices.items()}
    price_lists.set_own(tx, prices, organization_id=organization.id, actor=caller.key_id)
    return _shown(tx, yard, organization.id)


def _shown(tx: Session, yard: Yard, organization_id: str) -> PriceListObject:
    own = price_lists.own(tx, organization_id)
    in_force = price_lists.current(tx, yard.registry.prices(), organization_id=organization_id)
    return PriceListObject(
        id=own.id if own else None,
        organization_id=organization_id,
        own=own.prices if own else {},
        in_force={model: asdict(prices) for model, prices in in_force.items()},
        effective_at=clock.unix(own.effective_at) if own else None,
    )
