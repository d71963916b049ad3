"""The caller's own organization: who it is, what its plan allows, how much of that is in use."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, YardDep
from api.schemas.organizations import BatchUse, OrganizationObject, OwnKey, OwnOrganization
from api.schemas.reservations import ReservationObject
from orchestrator import clock
from orchestrator.batches.standing import standing
from orchestrator.engines import reservations
from orchestrator.organizations.model import Organization
from orchestrator.organizations.scopes import allowed

router = APIRouter(tags=["Organization"])


@router.get("/organization")
def retrieve_organization(tx: Read, yard: YardDep, caller: Caller) -> OwnOrganization:
    """The organization that your key speaks for, its plan, and what is used of it."""
    organization = tx.get_one(Organization, caller.organization_id)
    used = standing(tx, organization_id=organization.id, now=clock.now())
    return OwnOrganization(
        **OrganizationObject.of(organization).model_dump(),
        project_id=caller.project_id,
        key=OwnKey(
            id=caller.key_id,
            role=caller.role,
            scopes=sorted(allowed(caller.role, caller.scopes)),
            member_id=caller.member_id,
        ),
        plan=yard.contracted(caller),
        reserved=[ReservationObject.of(row) for row in reservations.of_organization(tx, organization.id)],
        use=BatchUse(
            live_batches=used.live_batches,
            batch_lines_today=used.lines_today,
            queued_tokens=dict(used.queued_tokens),
        ),
    )
