"""The first schema of main.db."""

import sqlalchemy as sa
from alembic import op

revision = "main0001"
down_revision = None


def upgrade() -> None:
    """Create everything in an empty database."""
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
        "tenant",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "alarm",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("occurrence_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default="3", nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("signal", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("raised_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_us", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_alarm_tenant_id")),
        sa.PrimaryKeyConstraint(
            "gateway", "source", "message", "number", "occurrence_us", name=op.f("pk_alarm")
        ),
    )
    op.create_index(
        op.f("ix_alarm_tenant_id_acknowledged_us"), "alarm", ["tenant_id", "acknowledged_us"], unique=False
    )
    op.create_index(op.f("ix_alarm_tenant_id_ended_us"), "alarm", ["tenant_id", "ended_us"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_audit_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject_action"), "audit", ["subject", "action"], unique=False)
    op.create_index(op.f("ix_audit_tenant_id_time_us"), "audit", ["tenant_id", "time_us"], unique=False)
    op.create_table(
        "event",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("occurrence_us", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("quality", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("clock_trusted", sa.Boolean(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_event_tenant_id")),
        sa.PrimaryKeyConstraint("gateway", "store", "seq", name=op.f("pk_event")),
        sa.UniqueConstraint("gateway", "id", name=op.f("uq_event_gateway_id")),
    )
    op.create_index(op.f("ix_event_tenant_id_time_us"), "event", ["tenant_id", "time_us"], unique=False)
    op.create_table(
        "gateway",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("site", sa.String(length=200), server_default="", nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column("first_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_us", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.LargeBinary(), nullable=True),
        sa.Column("store", sa.BigInteger(), nullable=True),
        sa.Column("boot", sa.String(length=200), server_default="", nullable=False),
        sa.Column("program", sa.String(length=200), server_default="", nullable=False),
        sa.Column("applied_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("applied", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_gateway_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway")),
    )
    op.create_index(op.f("ix_gateway_tenant_id_site"), "gateway", ["tenant_id", "site"], unique=False)
    op.create_table(
        "signal",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("uid", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("unit", sa.String(length=32), server_default="", nullable=False),
        sa.Column("type", sa.String(length=16), server_default="float", nullable=False),
        sa.Column("group_uid", sa.String(length=128), server_default="", nullable=False),
        sa.Column("writable", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_signal_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "uid", name=op.f("pk_signal")),
    )
    op.create_table(
        "binding",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("uid", sa.String(length=128), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=True),
        sa.Column("to_us", sa.BigInteger(), nullable=True),
        sa.Column("listed", sa.Boolean(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["gateway"], ["gateway.id"], name=op.f("fk_binding_gateway")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_binding_tenant_id")),
        sa.PrimaryKeyConstraint("gateway", "store", "number", name=op.f("pk_binding")),
    )
    op.create_index(op.f("ix_binding_tenant_id_uid"), "binding", ["tenant_id", "uid"], unique=False)
    op.create_table(
        "group_binding",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("store", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("uid", sa.String(length=128), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["gateway"], ["gateway.id"], name=op.f("fk_group_binding_gateway")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_group_binding_tenant_id")),
        sa.PrimaryKeyConstraint("gateway", "store", "number", name=op.f("pk_group_binding")),
    )
    op.create_table(
        "message",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("uid", sa.String(length=128), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("acknowledge", sa.Boolean(), nullable=False),
        sa.Column("area", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(["gateway"], ["gateway.id"], name=op.f("fk_message_gateway")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_message_tenant_id")),
        sa.PrimaryKeyConstraint("gateway", "uid", name=op.f("pk_message")),
    )

    op.bulk_insert(sa.table("tenant", sa.column("id"), sa.column("name")), [{"id": "default", "name": ""}])
