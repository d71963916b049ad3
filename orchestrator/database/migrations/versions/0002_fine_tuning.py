"""fine tuning."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adapter",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("base_model", sa.String(length=256), nullable=False),
        sa.Column("origin", sa.String(length=32), nullable=False),
        sa.Column("source_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_prefix", sa.String(length=256), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("target_modules", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("card", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
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
    op.create_index("ix_adapter_list", "adapter", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_adapter_source_id"), "adapter", ["source_id"], unique=False)
    op.create_table(
        "engine_adapter",
        sa.Column("engine_id", sa.String(length=64), nullable=False),
        sa.Column("adapter_id", sa.String(length=256), nullable=False),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapter.id"],
        ),
        sa.ForeignKeyConstraint(
            ["engine_id"],
            ["engine.id"],
        ),
        sa.PrimaryKeyConstraint("engine_id", "adapter_id"),
    )
    op.create_table(
        "fine_tuning_job",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("base_model", sa.String(length=256), nullable=False),
        sa.Column("training_file_id", sa.String(length=64), nullable=False),
        sa.Column("validation_file_id", sa.String(length=64), nullable=True),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("requested", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("suffix", sa.String(length=64), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column("price_micros", sa.BigInteger(), nullable=False),
        sa.Column("job_metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("idempotency_key", sa.String(length=256), nullable=True),
        sa.Column("idempotency_hash", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("hyperparameters", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("lora", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("estimate", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("report_file_id", sa.String(length=64), nullable=True),
        sa.Column("result_file_id", sa.String(length=64), nullable=True),
        sa.Column("fine_tuned_model", sa.String(length=256), nullable=True),
        sa.Column("flow_run_id", sa.String(length=64), nullable=True),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=True),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("steps_per_second", sa.Float(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("running_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pausing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.ForeignKeyConstraint(
            ["training_file_id"],
            ["file.id"],
        ),
        sa.ForeignKeyConstraint(
            ["validation_file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "idempotency_key", name="uq_fine_tuning_job_idempotency_key"),
    )
    op.create_index(
        "ix_fine_tuning_job_list", "fine_tuning_job", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_fine_tuning_job_live",
        "fine_tuning_job",
        ["organization_id"],
        unique=False,
        postgresql_where=sa.text("status NOT IN ('succeeded', 'failed', 'cancelled')"),
    )
    op.create_table(
        "fine_tuning_checkpoint",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.String(length=256), nullable=False),
        sa.Column("state_key", sa.String(length=256), nullable=False),
        sa.Column("trained_tokens", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["fine_tuning_job.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "step", name="uq_fine_tuning_checkpoint_step"),
    )
    op.create_table(
        "fine_tuning_event",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=32), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["fine_tuning_job.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_fine_tuning_event_list", "fine_tuning_event", ["job_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "uq_fine_tuning_event_step",
        "fine_tuning_event",
        ["job_id", "step"],
        unique=True,
        postgresql_where=sa.text("type = 'metrics'"),
    )
    op.execute("DELETE FROM batch_demand")  # each driver writes its own again within seconds
    op.add_column("batch_demand", sa.Column("base", sa.String(length=256), nullable=False))
    op.create_index(op.f("ix_batch_demand_base"), "batch_demand", ["base"], unique=False)
    op.add_column("engine", sa.Column("lora", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.alter_column("engine", "lora", server_default=None)
    op.drop_constraint(op.f("job_resource_id_key"), "job", type_="unique")
    op.create_unique_constraint("uq_job_resource_kind", "job", ["resource_id", "kind"])
    op.add_column("usage", sa.Column("trained_tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.alter_column("usage", "trained_tokens", server_default=None)


def downgrade() -> None:
    op.drop_column("usage", "trained_tokens")
    op.drop_constraint("uq_job_resource_kind", "job", type_="unique")
    op.create_unique_constraint(
        op.f("job_resource_id_key"), "job", ["resource_id"], postgresql_nulls_not_distinct=False
    )
    op.drop_column("engine", "lora")
    op.drop_index(op.f("ix_batch_demand_base"), table_name="batch_demand")
    op.drop_column("batch_demand", "base")
    op.drop_index(
        "uq_fine_tuning_event_step",
        table_name="fine_tuning_event",
        postgresql_where=sa.text("type = 'metrics'"),
    )
    op.drop_index("ix_fine_tuning_event_list", table_name="fine_tuning_event")
    op.drop_table("fine_tuning_event")
    op.drop_table("fine_tuning_checkpoint")
    op.drop_index(
        "ix_fine_tuning_job_live",
        table_name="fine_tuning_job",
        postgresql_where=sa.text("status NOT IN ('succeeded', 'failed', 'cancelled')"),
    )
    op.drop_index("ix_fine_tuning_job_list", table_name="fine_tuning_job")
    op.drop_table("fine_tuning_job")
    op.drop_table("engine_adapter")
    op.drop_index(op.f("ix_adapter_source_id"), table_name="adapter")
    op.drop_index("ix_adapter_list", table_name="adapter")
    op.drop_table("adapter")
