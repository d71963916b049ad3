"""Spends to be told of: once for each threshold and month, as a webhook event and in what the API shows.
A limit that is reached is told of in the same way.

What counts is what is charged and, where a limit or an alert has running work watched, what that has cost.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, NotFound
from orchestrator.metering.ledger import month_of
from orchestrator.spending.model import SpendAlert
from orchestrator.spending.standing import ORGANIZATION, Spending, Standing, spending, standings
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.events import announce

ALERTS_MAX = 100  # of one organization, or of one project


def create(
    tx: Session,
    *,
    organization_id: str,
    project_id: str = ORGANIZATION,
    threshold_micros: int,
    recipients: Sequence[str] = (),
    subject_prefix: str | None = None,
    actor: str,
) -> SpendAlert:
    """A new alert; a spend that is past it already is told with the next charge. Raises Conflict beyond
    ALERTS_MAX."""
    count = tx.exec(
        select(func.count())
        .select_from(SpendAlert)
        .where(SpendAlert.organization_id == organization_id, SpendAlert.project_id == project_id)
    ).one()
    if count >= ALERTS_MAX:
        raise Conflict(f"There are {count} spend alerts already, and {ALERTS_MAX} are allowed. Delete one.")
    alert = SpendAlert(
        id=ids.new("spend_alert_"),
        organization_id=organization_id,
        project_id=project_id,
        threshold_micros=threshold_micros,
        recipients=list(recipients),
        subject_prefix=subject_prefix,
        created_at=clock.now(),
    )
    tx.add(alert)
    _record(tx, Action.SPEND_ALERT_CREATED, alert, actor=actor, after={"threshold_micros": threshold_micros})
    return alert


def change(
    tx: Session,
    alert: SpendAlert,
    *,
    threshold_micros: int,
    recipients: Sequence[str],
    subject_prefix: str | None,
    actor: str,
) -> SpendAlert:
    """Another threshold or another address. A new threshold may be told of again in this month."""
    before = _told(alert)
    if threshold_micros != alert.threshold_micros:
        alert.threshold_micros, alert.alerted_month = threshold_micros, None
    alert.recipients, alert.subject_prefix = list(recipients), subject_prefix
    if (after := _told(alert)) != before:
        _record(tx, Action.SPEND_ALERT_UPDATED, alert, actor=actor, before=before, after=after)
    return alert


def delete(tx: Session, alert: SpendAlert, *, actor: str) -> None:
    """No such alert from now on."""
    _record(
        tx,
        Action.SPEND_ALERT_DELETED,
        alert,
        actor=actor,
        before={"threshold_micros": alert.threshold_micros},
    )
    tx.delete(alert)


def get(tx: Session, alert_id: str, *, organization_id: str, project_id: str = ORGANIZATION) -> SpendAlert:
    """One alert of an organization or of one project of it. Raises NotFound."""
    alert = tx.get(SpendAlert, alert_id)
    if alert is None or (alert.organization_id, alert.project_id) != (organization_id, project_id):
        raise NotFound(f"No spend alert found with id '{alert_id}'.", param="alert_id")
    return alert


def list_page(
    tx: Session, request: PageRequest, *, organization_id: str, project_id: str = ORGANIZATION
) -> Page[SpendAlert]:
    """One page of the alerts of an organization, or of one project of it. Raises Invalid for an unknown
    cursor."""
    where = [col(SpendAlert.project_id) == project_id]
    return fetch(tx, SpendAlert, request, organization_id=organization_id, where=where)


def fire(tx: Session, *, organization_id: str, project_id: str) -> list[SpendAlert]:
    """Tell of every alert and every limit over this project that the spending has come to: whoever charges
    calls this after it. One UPDATE decides who tells, so each alert is told of once in a month."""
    told = []
    silent = _silent(tx, organization_id, project_id)
    for scope in dict.fromkeys(alert.project_id for alert in silent):
        now = spending(tx, organization_id, project_id=scope)
        due = [a for a in silent if a.project_id == scope and a.threshold_micros <= now.spent]
        for alert in due:
            first = tx.execute(
                update(SpendAlert)
                .where(col(SpendAlert.id) == alert.id, _not_told_in(now.month))
                .values(alerted_month=now.month, alerted_at=clock.now()),
                execution_options={"synchronize_session": False},
            )
            if first.rowcount:  # type: ignore[attr-defined]  # an UPDATE's cursor result has it
                tx.refresh(alert)
                _announce_alert(tx, alert, now)
                told.append(alert)
    for standing in standings(tx, organization_id=organization_id, project_id=project_id):
        if standing.reached:
            _announce_limit(tx, standing)
    return told


def _announce_alert(tx: Session, alert: SpendAlert, now: Spending) -> None:
    announce(
        tx,
        organization_id=alert.organization_id,
        project_id=alert.project_id or None,
        type=EventType.SPEND_ALERT_TRIGGERED,
        resource_id=alert.id,
        data=_figures(alert.project_id, alert.threshold_micros, now)
        | {"recipients": alert.recipients, "subject_prefix": alert.subject_prefix},
        occurrence=str(alert.alerted_at),
    )


def _announce_limit(tx: Session, standing: Standing) -> None:
    """Once for each month and each value that the limit is given."""
    limit = standing.limit
    announce(
        tx,
        organization_id=limit.organization_id,
        project_id=limit.project_id or None,
        type=EventType.SPEND_LIMIT_REACHED,
        resource_id=limit.project_id or limit.organization_id,
        data=_figures(limit.project_id, limit.cap_micros, standing.spending),
        occurrence=f"{standing.spending.month}:{limit.updated_at}",
    )


def _figures(project_id: str, threshold_micros: int, now: Spending) -> dict[str, Any]:
    return {
        "project_id": project_id or None,
        "currency": "USD",
        "month": now.month.isoformat(),
        "threshold_micros": threshold_micros,
        "spent_micros": now.spent,
        "resets_at": clock.unix(now.resets_at),
    }


def _silent(tx: Session, organization_id: str, project_id: str) -> Sequence[SpendAlert]:
    """The alerts over a project that were not told of in this month."""
    return tx.exec(
        select(SpendAlert)
        .where(SpendAlert.organization_id == organization_id)
        .where(col(SpendAlert.project_id).in_((ORGANIZATION, project_id)))
        .where(_not_told_in(month_of(clock.now())))
        .order_by(col(SpendAlert.project_id), col(SpendAlert.threshold_micros))
        .limit(2 * ALERTS_MAX)
    ).all()


def _not_told_in(month: date) -> ColumnElement[bool]:
    return or_(col(SpendAlert.alerted_month).is_(None), col(SpendAlert.alerted_month) != month)


def _told(alert: SpendAlert) -> dict[str, object]:
    """What a change changes, as the audit log shows it."""
    return {
        "threshold_micros": alert.threshold_micros,
        "recipients": alert.recipients,
        "subject_prefix": alert.subject_prefix,
    }


def _record(
    tx: Session,
    action: Action,
    alert: SpendAlert,
    *,
    actor: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=alert.organization_id,
        project_id=alert.project_id or None,
        actor=actor,
        subject_id=alert.id,
        before=before,
        after=after,
    )
