"""The first schema of history.db."""

import sqlalchemy as sa
from alembic import op

revision = "history0001"
down_revision = None


def upgrade() -> None:
    """Create everything in an empty database."""
    op.create_table(
        "covered",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head_last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "store", "group_number", name=op.f("pk_covered")),
    )
    op.create_table(
        "holding",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "store", "kind", "first", name=op.f("pk_holding")),
    )
    op.create_table(
        "member",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint(
            "gateway", "store", "number", "group_number", "epoch", name=op.f("pk_member")
        ),
    )
    op.create_index("ix_member_group", "member", ["gateway", "store", "group_number", "epoch"], unique=False)
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=200), nullable=False),
        sa.Column("store", sa.BigInteger(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "gateway", "topic", "fingerprint", name=op.f("uq_quarantine_gateway_topic_fingerprint")
        ),
    )
    op.create_table(
        "segment",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("group_number", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("head_first", sa.BigInteger(), nullable=False),
        sa.Column("head_last", sa.BigInteger(), nullable=False),
        sa.Column("t_min_us", sa.BigInteger(), nullable=False),
        sa.Column("t_max_us", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("clock_trusted", sa.Boolean(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("head_bytes", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "store", "seq", name=op.f("pk_segment")),
    )
    op.create_index(
        "ix_segment_head",
        "segment",
        ["gateway", "store", "group_number", "head_last", "head_first"],
        unique=False,
    )
    op.create_index(
        "ix_segment_time",
        "segment",
        ["gateway", "store", "group_number", "epoch", "t_min_us", "t_max_us"],
        unique=False,
    )
    op.create_table(
        "series",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("t_min_us", sa.BigInteger(), nullable=False),
        sa.Column("t_max_us", sa.BigInteger(), nullable=False),
        sa.Column("longest_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "store", "group_number", "epoch", name=op.f("pk_series")),
    )
    op.create_table(
        "tail",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("t_min_us", sa.BigInteger(), nullable=False),
        sa.Column("t_max_us", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "store", "group_number", "first", name=op.f("pk_tail")),
    )
    op.create_index("ix_tail_last", "tail", ["gateway", "store", "group_number", "last"], unique=False)
