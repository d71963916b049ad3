"""Webhooks as they are sent, and what is under way at once. Nothing wrote the webhooks' tables before."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "underway",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("limit", sa.String(length=64), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_underway_count", "underway", ["organization_id", "limit", "until"], unique=False)
    op.add_column("webhook_delivery", sa.Column("is_test", sa.Boolean(), nullable=False))
    op.drop_index("ix_webhook_delivery_due", table_name="webhook_delivery")
    op.drop_column("webhook_delivery", "status")
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index("ix_webhook_delivery_created", "webhook_delivery", ["created_at"], unique=False)
    op.add_column("webhook_endpoint", sa.Column("exhausted", sa.Integer(), nullable=False))
    op.add_column("webhook_endpoint", sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False))
    op.add_column("webhook_event", sa.Column("key", sa.String(length=256), nullable=False))
    op.drop_index("ix_webhook_event_organization_id", table_name="webhook_event")
    op.create_index("ix_webhook_event_created", "webhook_event", ["created_at"], unique=False)
    op.create_unique_constraint("webhook_event_key_key", "webhook_event", ["key"])


def downgrade() -> None:
    op.drop_constraint("webhook_event_key_key", "webhook_event", type_="unique")
    op.drop_index("ix_webhook_event_created", table_name="webhook_event")
    op.create_index("ix_webhook_event_organization_id", "webhook_event", ["organization_id"], unique=False)
    op.drop_column("webhook_event", "key")
    op.drop_column("webhook_endpoint", "updated_at")
    op.drop_column("webhook_endpoint", "exhausted")
    op.drop_index("ix_webhook_delivery_created", table_name="webhook_delivery")
    op.drop_index("ix_webhook_delivery_due", table_name="webhook_delivery")
    op.add_column(
        "webhook_delivery",
        sa.Column("status", sa.String(length=32), nullable=False, server_default="failed"),
    )
    op.alter_column("webhook_delivery", "status", server_default=None)
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.drop_column("webhook_delivery", "is_test")
    op.drop_index("ix_underway_count", table_name="underway")
    op.drop_table("underway")
