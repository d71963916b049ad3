<%!
import re


def code(steps):
    """Alembic's steps without its comments around them."""
    return re.sub(r"^ *# ###.*\n?", "", steps, flags=re.MULTILINE).strip() or "pass"
%>\
"""${message}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${code(upgrades or "")}


def downgrade() -> None:
    ${code(downgrades or "")}
