"""Limits: those in force with their use, an organization's contract, and what a project lowers."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.schemas.limits import LimitList, LimitObject, LimitsSet, SetContract, SetProjectLimits
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.entitlements import effective
from orchestrator.limit_board import in_force
from orchestrator.organizations import projects
from orchestrator.organizations import service as organizations

router = APIRouter(tags=["Limits"])


@router.get("/limits")
def list_limits(tx: Read, yard: YardDep, caller: Caller) -> LimitList:
    """Every limit there is for you, what is used of it now, and when it is free again."""
    tier = yard.tiers[caller.tier]
    organization = organizations.get(tx, caller.organization_id)
    return LimitList(
        tier=tier.name,
        support=tier.support,
        support_contact=organization.support_contact or tier.support_contact,
        data=[LimitObject.of(found) for found in in_force(tx, caller, tier)],
    )


@router.post("/organizations/{organization_id}/limits")
def set_contract(organization_id: str, body: SetContract, tx: Transaction, caller: Caller) -> LimitsSet:
    """Give an organization limits of its own, in place of its tier's and of those it had; from its next
    request on."""
    effective.check_contract(body.limits)
    organization = organizations.get(tx, organization_id)
    before, organization.limits = organization.limits, dict(body.limits)
    audit.record(
        tx,
        Action.LIMITS_UPDATED,
        organization_id=organization.id,
        actor=caller.key_id,
        subject_id=organization.id,
        before=before,
        after=organization.limits,
    )
    return LimitsSet(id=organization.id, limits=organization.limits)


@router.post("/organization/projects/{project_id}/limits")
def set_project_limits(
    project_id: str, body: SetProjectLimits, tx: Transaction, yard: YardDep, caller: Caller
) -> LimitsSet:
    """Lower the limits of one project, in place of those it had; from its next request on. For owners."""
    organization = organizations.get(tx, caller.organization_id)
    tier = effective.contracted(yard.tiers[organization.tier], organization.limits)
    effective.check_project(body.limits, tier)
    project = projects.get(tx, organization.id, project_id)
    before, project.limits = project.limits, dict(body.limits)
    audit.record(
        tx,
        Action.LIMITS_UPDATED,
        organization_id=organization.id,
        project_id=project.id,
        actor=caller.key_id,
        subject_id=project.id,
        before=before,
        after=project.limits,
    )
    return LimitsSet(id=project.id, limits=dict(project.limits))
