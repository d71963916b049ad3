"""For whoever runs the yard: capacity that an organization always gets while it has work."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.schemas.reservations import ReservationList, ReservationObject, SetReservation
from api.schemas.wire import Deleted
from orchestrator.engines import reservations
from orchestrator.entitlements import checks
from orchestrator.errors import Invalid
from orchestrator.organizations import service as organizations

router = APIRouter(tags=["Operator"])


@router.get("/reservations")
def list_reservations(tx: Read) -> ReservationList:
    """Everything that is reserved, oldest first."""
    return ReservationList(data=[ReservationObject.of(row) for row in reservations.everyone(tx)])


@router.post("/organizations/{organization_id}/reservations")
def set_reservation(
    organization_id: str, body: SetReservation, tx: Transaction, yard: YardDep, caller: Caller
) -> ReservationObject:
    """Reserve engines of a model for an organization, or a share of their places, in place of what it had of
    that model. Nothing stands idle for it: while the organization has no work, others are lent it."""
    organization = organizations.get(tx, organization_id)
    spec = yard.registry.seen_by(organization_id).get(body.model)
    if spec is None:
        raise Invalid(f"This organization sees no base model '{body.model}'.", param="model")
    checks.require(checks.model_permitted(yard.tiers, yard.tiers[organization.tier], spec.id, param="model"))
    row = reservations.reserve(
        tx,
        spec,
        organization_id=organization.id,
        engines=body.engines,
        share=body.share,
        gpus=yard.settings.gpu_slots(),
        registry=yard.registry,
        actor=caller.key_id,
    )
    return ReservationObject.of(row)


@router.delete("/organizations/{organization_id}/reservations/{model:path}")
def end_reservation(organization_id: str, model: str, tx: Transaction, caller: Caller) -> Deleted:
    """Give back what an organization has reserved of a model. What runs goes on."""
    reservations.end(tx, organization_id=organization_id, model=model, actor=caller.key_id)
    return Deleted(id=model, object="reservation")
