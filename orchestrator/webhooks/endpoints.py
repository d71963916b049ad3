"""A project's endpoints: made, changed, rotated, disabled, deleted. Whoever changes one holds its row.

The log of changes keeps no more of a URL than its origin: the rest may be a secret.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, update
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.audit.service import SYSTEM
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.webhooks import signing
from orchestrator.webhooks.event_types import SUBSCRIBABLE, EventType
from orchestrator.webhooks.events import announce
from orchestrator.webhooks.model import WebhookDelivery, WebhookEndpoint

ENDPOINTS_MAX = 20  # of one project
PREVIOUS_SECRET_HOURS = 24
BY_HAND = "Disabled by hand."


def create(
    tx: Session,
    *,
    organization_id: str,
    project_id: str,
    url: str,
    name: str,
    event_types: Sequence[str],
    actor: str,
) -> WebhookEndpoint:
    """A new endpoint, with a new secret. `url` is checked. Raises Invalid for a kind of event that there is
    not, Conflict beyond ENDPOINTS_MAX."""
    theirs = (WebhookEndpoint.organization_id == organization_id, WebhookEndpoint.project_id == project_id)
    count = tx.exec(select(func.count()).select_from(WebhookEndpoint).where(*theirs)).one()
    if count >= ENDPOINTS_MAX:
        raise Conflict(
            f"This project has {count} webhook endpoints, and {ENDPOINTS_MAX} are allowed. Delete one, or "
            "let one receive more kinds of event."
        )
    now = clock.now()
    endpoint = WebhookEndpoint(
        id=ids.new("wh_"),
        organization_id=organization_id,
        project_id=project_id,
        url=url,
        name=name,
        event_types=_checked(event_types),
        secret=signing.new_secret(),
        created_at=now,
        updated_at=now,
    )
    tx.add(endpoint)
    _record(tx, Action.WEBHOOK_CREATED, endpoint, actor=actor, after=_audited(endpoint))
    return endpoint


def get(tx: Session, endpoint_id: str, *, organization_id: str, project_id: str) -> WebhookEndpoint:
    """One endpoint of a project. Raises NotFound."""
    return _of_project(tx.get(WebhookEndpoint, endpoint_id), endpoint_id, organization_id, project_id)


def get_held(tx: Session, endpoint_id: str, *, organization_id: str, project_id: str) -> WebhookEndpoint:
    """`get`, with the row held for the rest of the transaction."""
    return _of_project(hold(tx, endpoint_id), endpoint_id, organization_id, project_id)


def hold(tx: Session, endpoint_id: str) -> WebhookEndpoint | None:
    """The endpoint, if it is still there, held for the rest of the transaction. Whoever announces something
    to it does not wait for that."""
    return tx.get(WebhookEndpoint, endpoint_id, with_for_update={"key_share": True}, populate_existing=True)


def list_page(
    tx: Session, request: PageRequest, *, organization_id: str, project_id: str
) -> Page[WebhookEndpoint]:
    """One page of a project's endpoints. Raises Invalid for an unknown cursor."""
    within = [WebhookEndpoint.project_id == project_id]
    return fetch(tx, WebhookEndpoint, request, organization_id=organization_id, within=within)  # type: ignore[arg-type]


def change(
    tx: Session,
    endpoint: WebhookEndpoint,
    *,
    url: str | None = None,
    name: str | None = None,
    event_types: Sequence[str] | None = None,
    enabled: bool | None = None,
    actor: str,
) -> WebhookEndpoint:
    """Change what is given. What is on its way goes to the new address; an endpoint that is enabled begins
    with a clean record. Raises Invalid for a kind of event that there is not."""
    before = _audited(endpoint)
    given = {"url": url, "name": name, "event_types": None if event_types is None else _checked(event_types)}
    changed = [field for field, value in given.items() if value not in (None, getattr(endpoint, field))]
    for field in changed:
        setattr(endpoint, field, given[field])
    if changed:
        endpoint.updated_at = clock.now()
        after = _audited(endpoint) | {"changed": changed}
        _record(tx, Action.WEBHOOK_UPDATED, endpoint, actor=actor, before=before, after=after)
    if enabled is True and endpoint.disabled_at is not None:
        endpoint.disabled_at = endpoint.disabled_reason = endpoint.failing_since = None
        endpoint.exhausted = 0
        _record(tx, Action.WEBHOOK_UPDATED, endpoint, actor=actor, after={"enabled": True})
    if enabled is False and endpoint.disabled_at is None:
        disable(tx, endpoint, reason=BY_HAND, actor=actor)
    return endpoint


def rotate(tx: Session, endpoint: WebhookEndpoint, *, keep_previous: bool, actor: str) -> WebhookEndpoint:
    """A new secret, at once; with `keep_previous` the one so far signs too, for PREVIOUS_SECRET_HOURS."""
    now = clock.now()
    endpoint.previous_secret = endpoint.secret if keep_previous else None
    until = now + timedelta(hours=PREVIOUS_SECRET_HOURS) if keep_previous else None
    endpoint.previous_secret_until = until
    endpoint.secret, endpoint.updated_at = signing.new_secret(), now
    _record(tx, Action.WEBHOOK_ROTATED, endpoint, actor=actor, after={"keep_previous": keep_previous})
    return endpoint


def secrets(endpoint: WebhookEndpoint) -> tuple[str, ...]:
    """Those that sign now, the newest first."""
    until = endpoint.previous_secret_until
    if endpoint.previous_secret is None or until is None or until <= clock.now():
        return (endpoint.secret,)
    return (endpoint.secret, endpoint.previous_secret)


def disable(tx: Session, endpoint: WebhookEndpoint, *, reason: str, actor: str = SYSTEM) -> None:
    """Send nothing more to it, nor what is on its way. Where nobody asked for it, the organization's other
    endpoints are told, whatever else they want to hear of."""
    now = clock.now()
    endpoint.disabled_at, endpoint.disabled_reason = now, reason
    tx.execute(
        update(WebhookDelivery)
        .where(col(WebhookDelivery.endpoint_id) == endpoint.id)
        .where(col(WebhookDelivery.next_attempt_at).is_not(None))
        .values(next_attempt_at=None)
    )
    _record(tx, Action.WEBHOOK_DISABLED, endpoint, actor=actor, after={"reason": reason})
    if actor == SYSTEM:
        tx.flush()  # so that it is not among those that listen
        announce(
            tx,
            organization_id=endpoint.organization_id,
            project_id=None,
            type=EventType.ENDPOINT_DISABLED,
            resource_id=endpoint.id,
            data={"name": endpoint.name, "project_id": endpoint.project_id, "reason": reason},
            occurrence=now.isoformat(),
        )


def delete(tx: Session, endpoint: WebhookEndpoint, *, actor: str) -> None:
    """No such endpoint from now on, nor its log."""
    _record(tx, Action.WEBHOOK_DELETED, endpoint, actor=actor, before=_audited(endpoint))
    tx.get(WebhookEndpoint, endpoint.id, with_for_update=True)  # nobody announces anything to it any more
    tx.execute(sql_delete(WebhookDelivery).where(col(WebhookDelivery.endpoint_id) == endpoint.id))
    tx.delete(endpoint)


def _of_project(
    found: WebhookEndpoint | None, endpoint_id: str, organization_id: str, project_id: str
) -> WebhookEndpoint:
    if found is None or (found.organization_id, found.project_id) != (organization_id, project_id):
        raise NotFound(
            f"No webhook endpoint found with id '{endpoint_id}' in the project of this key.",
            param="webhook_endpoint_id",
        )
    return found


def _checked(event_types: Sequence[str]) -> list[str]:
    """The kinds, each once. Raises Invalid."""
    unknown = [kind for kind in event_types if kind not in SUBSCRIBABLE]
    if unknown or not event_types:
        found = f"found '{unknown[0][:64]}'" if unknown else "found none"
        raise Invalid(
            f"Expected kinds of event out of {', '.join(SUBSCRIBABLE)}; {found}.", param="event_types"
        )
    return [str(kind) for kind in dict.fromkeys(event_types)]


def _audited(endpoint: WebhookEndpoint) -> dict[str, Any]:
    parts = urlsplit(endpoint.url)
    return {
        "name": endpoint.name,
        "origin": f"{parts.scheme}://{parts.netloc}",
        "event_types": endpoint.event_types,
    }


def _record(
    tx: Session,
    action: Action,
    endpoint: WebhookEndpoint,
    *,
    actor: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=endpoint.organization_id,
        project_id=endpoint.project_id,
        actor=actor,
        subject_id=endpoint.id,
        before=before,
        after=after,
    )
