"""Acknowledgements from the centre, comments, and which alarms are open without looking at all of them."""

import sqlalchemy as sa
from alembic import op

revision = "main0003"
down_revision = "main0002"

_OPEN = """
UPDATE alarm SET is_open = raised_us IS NOT NULL AND (ended_us IS NULL OR acknowledged_us IS NULL)
AND NOT EXISTS (
    SELECT 1 FROM alarm AS later
    WHERE later.gateway = alarm.gateway AND later.source = alarm.source AND later.message = alarm.message
    AND later.occurrence_us > alarm.occurrence_us AND later.raised_us IS NOT NULL
)
"""


def upgrade() -> None:
    """Add columns and indexes; alarms that are there are looked at once."""
    op.create_table(
        "acknowledgement",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("occurrence_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("answered_us", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("first_by", sa.String(length=200), nullable=True),
        sa.Column("first_us", sa.BigInteger(), nullable=True),
        sa.Column("first_comment", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_acknowledgement_tenant_id")),
        sa.PrimaryKeyConstraint(
            "gateway", "source", "message", "occurrence_us", name=op.f("pk_acknowledgement")
        ),
        sa.UniqueConstraint("id", name=op.f("uq_acknowledgement_id")),
    )
    op.create_index(
        op.f("ix_acknowledgement_state_time_us"), "acknowledgement", ["state", "time_us"], unique=False
    )
    op.add_column("event", sa.Column("comment", sa.Text(), server_default="", nullable=False))
    op.add_column("alarm", sa.Column("comment", sa.Text(), server_default="", nullable=False))
    op.add_column("alarm", sa.Column("is_open", sa.Boolean(), server_default=sa.text("0"), nullable=False))
    op.drop_index(op.f("ix_alarm_tenant_id_acknowledged_us"), table_name="alarm")
    op.drop_index(op.f("ix_alarm_tenant_id_ended_us"), table_name="alarm")
    op.create_index(
        op.f("ix_alarm_gateway_source_message_occurrence_us"),
        "alarm",
        ["gateway", "source", "message", "occurrence_us"],
        unique=False,
    )
    op.create_index(
        op.f("ix_alarm_tenant_id_is_open_raised_us"),
        "alarm",
        ["tenant_id", "is_open", "raised_us"],
        unique=False,
    )
    op.create_index(op.f("ix_alarm_tenant_id_raised_us"), "alarm", ["tenant_id", "raised_us"], unique=False)
    op.create_index(op.f("ix_alarm_gateway_raised_us"), "alarm", ["gateway", "raised_us"], unique=False)
    op.execute(_OPEN)
