"""Tiers and money: limits, ledger, spending, quotes, webhooks, people; what is there is brought along."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("subject_id", sa.String(length=256), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_audit_entry_list", "audit_entry", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "invitation",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("invited_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index("ix_invitation_list", "invitation", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "member",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "uq_member_email",
        "member",
        ["organization_id", "email"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_member_list", "member", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "price_list",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=True),
        sa.Column("prices", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_price_list_latest", "price_list", ["organization_id", "effective_at"], unique=False)
    op.create_table(
        "rate_use",
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("requests_minute", sa.Float(), nullable=False),
        sa.Column("requests_day", sa.Float(), nullable=False),
        sa.Column("tokens_minute", sa.Float(), nullable=False),
        sa.Column("tokens_day", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "project_id", "model"),
    )
    op.create_table(
        "reservation",
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("engines", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("engines > 0 OR share > 0", name="ck_reservation_is_something"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "model"),
    )
    op.create_table(
        "sandbox_demand",
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("base", sa.String(length=256), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "model"),
    )
    op.create_index(op.f("ix_sandbox_demand_base"), "sandbox_demand", ["base"], unique=False)
    op.create_table(
        "spend_alert",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("threshold_micros", sa.BigInteger(), nullable=False),
        sa.Column("recipients", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("subject_prefix", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alerted_month", sa.Date(), nullable=True),
        sa.Column("alerted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_spend_alert_list", "spend_alert", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "spend_limit",
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("cap_micros", sa.BigInteger(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "project_id"),
    )
    op.create_table(
        "webhook_event",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_webhook_event_organization_id"), "webhook_event", ["organization_id"], unique=False
    )
    op.create_table(
        "quote",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("file_id", sa.String(length=64), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=256), nullable=True),
        sa.Column("quoted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("actual_cost_micros", sa.BigInteger(), nullable=True),
        sa.Column("actual_output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("actual_start_seconds", sa.Float(), nullable=True),
        sa.Column("actual_finish_seconds", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("settled_at IS NULL OR batch_id IS NOT NULL", name="ck_quote_settled_has_batch"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("batch_id"),
    )
    op.create_index("ix_quote_list", "quote", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "spend_hold",
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("granted_micros", sa.BigInteger(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("resource_id"),
    )
    op.create_index(op.f("ix_spend_hold_organization_id"), "spend_hold", ["organization_id"], unique=False)
    op.create_table(
        "spent",
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("organization_id", "project_id", "month"),
    )
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("event_types", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("secret", sa.String(length=128), nullable=False),
        sa.Column("previous_secret", sa.String(length=128), nullable=True),
        sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
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
    op.create_index(
        "ix_webhook_endpoint_list", "webhook_endpoint", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("endpoint_id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoint.id"],
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["webhook_event.id"],
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(op.f("ix_webhook_delivery_event_id"), "webhook_delivery", ["event_id"], unique=False)
    op.create_index(
        "ix_webhook_delivery_list", "webhook_delivery", ["endpoint_id", "created_at", "id"], unique=False
    )
    op.add_column("api_key", sa.Column("member_id", sa.String(length=64), nullable=True))
    op.add_column("api_key", sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("api_key", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_api_key_member_id"), "api_key", ["member_id"], unique=False)
    op.create_foreign_key("api_key_member_id_fkey", "api_key", "member", ["member_id"], ["id"])
    op.add_column("batch", sa.Column("rates", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute("DELETE FROM batch_demand")  # drivers write it anew with every heartbeat
    op.add_column("batch_demand", sa.Column("organization_id", sa.String(length=64), nullable=False))
    op.create_foreign_key(
        "batch_demand_organization_id_fkey", "batch_demand", "organization", ["organization_id"], ["id"]
    )
    _add_filled(
        "organization", sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False), "'{}'"
    )
    _add_filled("organization", sa.Column("priority", sa.Integer(), nullable=False), "'0'")
    op.add_column("organization", sa.Column("support_contact", sa.String(length=256), nullable=True))
    _add_filled(
        "project", sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False), "'{}'"
    )
    op.add_column("project", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    _add_filled("usage", sa.Column("kind", sa.String(length=32), nullable=False), "'batch'")
    _add_filled("usage", sa.Column("prices", postgresql.JSONB(astext_type=sa.Text()), nullable=False), "'{}'")
    op.drop_index(op.f("ix_usage_organization_id"), table_name="usage")
    op.create_index("ix_usage_model", "usage", ["model", "at"], unique=False)
    op.create_index("ix_usage_organization", "usage", ["organization_id", "at"], unique=False)
    op.drop_column("fine_tuning_job", "waiting_for")
    op.execute("UPDATE api_key SET role = 'owner' WHERE role = 'customer'")
    op.execute("UPDATE usage SET kind = 'fine_tuning' WHERE lines = 0 AND trained_tokens > 0")
    op.execute(
        "INSERT INTO spent (organization_id, project_id, month, micros) SELECT organization_id, project_id, "
        "date_trunc('month', at AT TIME ZONE 'UTC')::date, sum(cost_micros) FROM usage GROUP BY 1, 2, 3"
    )
    op.execute(
        "CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the usage ledger is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER usage_append_only BEFORE UPDATE OR DELETE ON usage "
        "FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()"
    )


def _add_filled(table: str, column: sa.Column[Any], value: str) -> None:
    """Add a column that rows already there get this value in; new ones name their own."""
    column.server_default = sa.DefaultClause(sa.text(value))
    op.add_column(table, column)
    op.alter_column(table, column.name, server_default=None)


def downgrade() -> None:
    op.execute("DROP TRIGGER usage_append_only ON usage")
    op.execute("DROP FUNCTION refuse_ledger_change")
    op.add_column("fine_tuning_job", sa.Column("waiting_for", sa.String(), nullable=True))
    op.execute("UPDATE api_key SET role = 'customer' WHERE role <> 'operator'")
    op.drop_index("ix_usage_organization", table_name="usage")
    op.drop_index("ix_usage_model", table_name="usage")
    op.create_index(op.f("ix_usage_organization_id"), "usage", ["organization_id"], unique=False)
    op.drop_column("usage", "prices")
    op.drop_column("usage", "kind")
    op.drop_column("project", "archived_at")
    op.drop_column("project", "limits")
    op.drop_column("organization", "support_contact")
    op.drop_column("organization", "priority")
    op.drop_column("organization", "limits")
    op.drop_constraint("batch_demand_organization_id_fkey", "batch_demand", type_="foreignkey")
    op.drop_column("batch_demand", "organization_id")
    op.drop_column("batch", "rates")
    op.drop_constraint("api_key_member_id_fkey", "api_key", type_="foreignkey")
    op.drop_index(op.f("ix_api_key_member_id"), table_name="api_key")
    op.drop_column("api_key", "expires_at")
    op.drop_column("api_key", "scopes")
    op.drop_column("api_key", "member_id")
    op.drop_index("ix_webhook_delivery_list", table_name="webhook_delivery")
    op.drop_index(op.f("ix_webhook_delivery_event_id"), table_name="webhook_delivery")
    op.drop_index(
        "ix_webhook_delivery_due",
        table_name="webhook_delivery",
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.drop_table("webhook_delivery")
    op.drop_index("ix_webhook_endpoint_list", table_name="webhook_endpoint")
    op.drop_table("webhook_endpoint")
    op.drop_table("spent")
    op.drop_index(op.f("ix_spend_hold_organization_id"), table_name="spend_hold")
    op.drop_table("spend_hold")
    op.drop_index("ix_quote_list", table_name="quote")
    op.drop_table("quote")
    op.drop_index(op.f("ix_webhook_event_organization_id"), table_name="webhook_event")
    op.drop_table("webhook_event")
    op.drop_table("spend_limit")
    op.drop_index("ix_spend_alert_list", table_name="spend_alert")
    op.drop_table("spend_alert")
    op.drop_index(op.f("ix_sandbox_demand_base"), table_name="sandbox_demand")
    op.drop_table("sandbox_demand")
    op.drop_table("reservation")
    op.drop_table("rate_use")
    op.drop_index("ix_price_list_latest", table_name="price_list")
    op.drop_table("price_list")
    op.drop_index("ix_member_list", table_name="member")
    op.drop_index("uq_member_email", table_name="member")
    op.drop_table("member")
    op.drop_index("ix_invitation_list", table_name="invitation")
    op.drop_table("invitation")
    op.drop_index("ix_audit_entry_list", table_name="audit_entry")
    op.drop_table("audit_entry")
