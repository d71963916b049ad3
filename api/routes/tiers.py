"""Tiers: what every plan allows and costs, for everyone to read, as JSON and as a page."""

from fastapi import APIRouter, Response

from api.deps import Read, YardDep
from api.pages import AsPage
from api.pages.tiers import tier_page
from api.schemas.models import ModelObject
from api.schemas.tiers import TierList
from orchestrator.metering import price_lists

router = APIRouter(tags=["Tiers"])


@router.get("/tiers", response_model=TierList)
def list_tiers(tx: Read, yard: YardDep, as_page: AsPage) -> TierList | Response:
    """Every limit there is, tier by tier, as the operator's `tiers.toml` has it (null means no limit), and
    the price of every public model. No key is needed. As a page with `format=html` or `Accept: text/html`."""
    prices = price_lists.current(tx, yard.registry.prices(), organization_id=None)
    models = [ModelObject.of(spec, yard.registry, prices[spec.id]) for spec in yard.registry.public()]
    shown = TierList(data=list(yard.tiers), models=models)
    return tier_page(shown) if as_page else shown
