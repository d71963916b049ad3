"""What ran beside a quoted batch; nothing is known of earlier ones."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_batch_finalizing", "batch", ["finalizing_at"], unique=False)
    op.add_column("quote", sa.Column("beside_tokens", sa.BigInteger(), server_default="0", nullable=False))
    op.alter_column("quote", "beside_tokens", server_default=None)


def downgrade() -> None:
    op.drop_column("quote", "beside_tokens")
    op.drop_index("ix_batch_finalizing", table_name="batch")
