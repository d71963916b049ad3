"""What the audit log tells of, under OpenAI's event types where there is one."""

from enum import StrEnum


class Action(StrEnum):
    """One kind of change."""

    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_DELETED = "api_key.deleted"
    INVITE_SENT = "invite.sent"
    INVITE_ACCEPTED = "invite.accepted"
    INVITE_DELETED = "invite.deleted"
    USER_ADDED = "user.added"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    PROJECT_CREATED = "project.created"
    PROJECT_UPDATED = "project.updated"
    PROJECT_ARCHIVED = "project.archived"
    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_UPDATED = "organization.updated"
    TIER_UPDATED = "tier.updated"
    LIMITS_UPDATED = "limits.updated"
    PRICES_UPDATED = "prices.updated"
    SPEND_LIMIT_UPDATED = "spend_limit.updated"
    SPEND_LIMIT_DELETED = "spend_limit.deleted"
    SPEND_ALERT_CREATED = "spend_alert.created"
    SPEND_ALERT_UPDATED = "spend_alert.updated"
    SPEND_ALERT_DELETED = "spend_alert.deleted"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_UPDATED = "webhook.updated"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_DELETED = "webhook.deleted"
