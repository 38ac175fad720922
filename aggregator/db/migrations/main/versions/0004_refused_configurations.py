"""When a gateway's configuration came into force, and why a newer one was refused."""

import sqlalchemy as sa
from alembic import op

revision = "main0004"
down_revision = "main0003"


def upgrade() -> None:
    """Add the columns; each gateway says it again at its next session."""
    op.add_column("gateway", sa.Column("applied_us", sa.BigInteger(), nullable=True))
    op.add_column("gateway", sa.Column("refused", sa.Text(), server_default="", nullable=False))
    op.add_column("gateway", sa.Column("faults", sa.Text(), server_default="", nullable=False))
