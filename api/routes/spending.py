"""What an organization and its projects may spend in a month, and at which spends it wants to be told.

Everybody in the organization sees it; an owner decides it, with effect at once.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import SpendAlertsPage
from api.schemas.spending import (
    SetSpendAlert,
    SetSpendLimit,
    SpendAlertObject,
    SpendingObject,
    SpendLimitDeleted,
    SpendLimitObject,
    micros,
)
from api.schemas.wire import Deleted, ListOf
from orchestrator.batches import holding as batches
from orchestrator.fine_tuning import holding as fine_tuning
from orchestrator.organizations import projects
from orchestrator.spending import alerts, caps
from orchestrator.spending.model import SpendAlert
from orchestrator.spending.standing import ORGANIZATION, spending, standings

router = APIRouter(prefix="/organization", tags=["Spending"])


def read_scope(request: Request, tx: Read, caller: Caller) -> str:
    """The project in the path, which must be the organization's; "" for the organization itself."""
    named: str | None = request.path_params.get("project_id")
    if named is None:
        return ORGANIZATION
    return projects.get(tx, caller.organization_id, named).id


Scope = Annotated[str, Depends(read_scope)]  # a project's id, or ORGANIZATION

LIMIT = "/spend_limit"
ALERTS = "/spend_alerts"
ALERT = "/spend_alerts/{alert_id}"
PROJECT = "/projects/{project_id}"


@router.get("/spending")
def retrieve_spending(tx: Read, caller: Caller) -> SpendingObject:
    """What this month costs so far, what of it running work has spent, and how the limits stand."""
    here = standings(tx, organization_id=caller.organization_id, project_id=caller.project_id)
    return SpendingObject.of(spending(tx, caller.organization_id), here)


@router.get(LIMIT)
@router.get(PROJECT + LIMIT, name="retrieve_project_spend_limit")
def retrieve_spend_limit(tx: Read, caller: Caller, project_id: Scope) -> SpendLimitObject:
    """The monthly cap, with what is spent, held and open of it."""
    return SpendLimitObject.of(caps.get(tx, organization_id=caller.organization_id, project_id=project_id))


@router.post(LIMIT)
@router.post(PROJECT + LIMIT, name="update_project_spend_limit")
def update_spend_limit(
    body: SetSpendLimit, tx: Transaction, caller: Caller, project_id: Scope
) -> SpendLimitObject:
    """Set or change the monthly cap. What runs hears of it within two seconds: it goes on as far as the cap
    allows, and what was stopped can be retried."""
    running = [*batches.running(tx, caller.organization_id), *fine_tuning.running(tx, caller.organization_id)]
    standing = caps.set_cap(
        tx,
        organization_id=caller.organization_id,
        project_id=project_id,
        cap_micros=micros(body.threshold_amount),
        running=running,
        actor=caller.key_id,
    )
    return SpendLimitObject.of(standing)


@router.delete(LIMIT)
@router.delete(PROJECT + LIMIT, name="delete_project_spend_limit")
def delete_spend_limit(tx: Transaction, caller: Caller, project_id: Scope) -> SpendLimitDeleted:
    """No cap from now on."""
    caps.remove(tx, organization_id=caller.organization_id, project_id=project_id, actor=caller.key_id)
    kind = "project" if project_id else "organization"
    return SpendLimitDeleted(object=f"{kind}.spend_limit.deleted")


@router.get(ALERTS)
@router.get(PROJECT + ALERTS, name="list_project_spend_alerts")
def list_spend_alerts(
    tx: Read, caller: Caller, project_id: Scope, page: SpendAlertsPage
) -> ListOf[SpendAlertObject]:
    """The spends to be told of, and when each last was."""
    found = alerts.list_page(tx, page, organization_id=caller.organization_id, project_id=project_id)
    return ListOf.of([SpendAlertObject.of(alert) for alert in found.rows], has_more=found.has_more)


@router.post(ALERTS)
@router.post(PROJECT + ALERTS, name="create_project_spend_alert")
def create_spend_alert(
    body: SetSpendAlert, tx: Transaction, caller: Caller, project_id: Scope
) -> SpendAlertObject:
    """Be told of a spend, once in each month: a webhook event, and `alerted_at` here."""
    alert = alerts.create(
        tx,
        organization_id=caller.organization_id,
        project_id=project_id,
        threshold_micros=micros(body.threshold_amount),
        recipients=body.notification_channel.recipients,
        subject_prefix=body.notification_channel.subject_prefix,
        actor=caller.key_id,
    )
    return SpendAlertObject.of(alert)


def named_alert(alert_id: str, tx: Transaction, caller: Caller, project_id: Scope) -> SpendAlert:
    """The alert in the path."""
    return alerts.get(tx, alert_id, organization_id=caller.organization_id, project_id=project_id)


Alert = Annotated[SpendAlert, Depends(named_alert)]


@router.get(ALERT)
@router.get(PROJECT + ALERT, name="retrieve_project_spend_alert")
def retrieve_spend_alert(alert: Alert) -> SpendAlertObject:
    """One alert."""
    return SpendAlertObject.of(alert)


@router.post(ALERT)
@router.post(PROJECT + ALERT, name="update_project_spend_alert")
def update_spend_alert(
    body: SetSpendAlert, tx: Transaction, caller: Caller, alert: Alert
) -> SpendAlertObject:
    """Another threshold, which may be told of again in this month, or other recipients."""
    changed = alerts.change(
        tx,
        alert,
        threshold_micros=micros(body.threshold_amount),
        recipients=body.notification_channel.recipients,
        subject_prefix=body.notification_channel.subject_prefix,
        actor=caller.key_id,
    )
    return SpendAlertObject.of(changed)


@router.delete(ALERT)
@router.delete(PROJECT + ALERT, name="delete_project_spend_alert")
def delete_spend_alert(tx: Transaction, caller: Caller, alert: Alert) -> Deleted:
    """No longer be told of it."""
    shown = SpendAlertObject.of(alert)
    alerts.delete(tx, alert, actor=caller.key_id)
    return Deleted(id=shown.id, object=f"{shown.object}.deleted")
