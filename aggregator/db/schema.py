"""Tables of main.db and history.db, the same for SQLite and PostgreSQL.

No message touches both databases. Times are µs since 1970 UTC; a column called `checksum` is a
CRC-32 over all that the row says, its key included. Steps from version to version are in
`aggregator.db.migrations`; a test holds them equal to this.

A record is known by (gateway, store, lane, seq): one authority names all gateways, so the tenant
is a column, not part of the key.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
MAIN = MetaData(naming_convention=NAMES)
HISTORY = MetaData(naming_convention=NAMES)

RowId = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up a primary key by itself only if it is an INTEGER."""


def _tenant() -> Column[str]:
    return Column("tenant_id", String(64), nullable=False)


def _tenant_there() -> Column[str]:
    return Column("tenant_id", String(64), ForeignKey("tenant.id"), nullable=False)


def _gateway() -> Column[str]:
    return Column("gateway", String(64), nullable=False)


def _holding(metadata: MetaData) -> Table:
    """What receipts may claim: closed ranges of seq, apart by kind (see aggregator.ingest.store)."""
    return Table(
        "holding",
        metadata,
        Column("gateway", String(64), primary_key=True),
        Column("store", BigInteger, primary_key=True, autoincrement=False),
        Column("kind", String(16), primary_key=True),
        Column("first", BigInteger, primary_key=True, autoincrement=False),
        Column("last", BigInteger, nullable=False),
        _tenant(),
    )


def _quarantine(metadata: MetaData) -> Table:
    """What could not be taken, by its bytes; `count` times. `store` and `seq` where it said them."""
    return Table(
        "quarantine",
        metadata,
        Column("id", RowId, primary_key=True),
        _tenant(),
        _gateway(),
        Column("topic", String(200), nullable=False),
        Column("store", BigInteger),
        Column("seq", BigInteger),
        Column("reason", Text, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("fingerprint", String(64), nullable=False),
        Column("first_us", BigInteger, nullable=False),
        Column("last_us", BigInteger, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("kept", LargeBinary, nullable=False),
        UniqueConstraint("gateway", "topic", "fingerprint"),
    )


# --- main.db ---------------------------------------------------------------------------------

tenant = Table(
    "tenant", MAIN, Column("id", String(64), primary_key=True), Column("name", String(200), nullable=False)
)

gateway = Table(
    "gateway",
    MAIN,
    Column("id", String(64), primary_key=True),
    _tenant_there(),
    Column("site", String(200), nullable=False, server_default=""),
    Column("name", String(200), nullable=False, server_default=""),
    Column("zone", String(64), nullable=False, server_default="UTC"),
    Column("first_seen_us", BigInteger, nullable=False),
    Column("last_seen_us", BigInteger, nullable=False),
    Column("online", Boolean, nullable=False, server_default=false()),
    Column("status", LargeBinary),
    Column("store", BigInteger),
    Column("boot", String(200), nullable=False, server_default=""),
    Column("program", String(200), nullable=False, server_default=""),
    Column("applied_digest", String(64), nullable=False, server_default=""),
    Column("applied", LargeBinary),
    Column("applied_us", BigInteger),
    Column("refused", Text, nullable=False, server_default=""),
    Column("faults", Text, nullable=False, server_default=""),  # one a line
    Index(None, "tenant_id", "site"),
)

signal = Table(
    "signal",
    MAIN,
    Column("tenant_id", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("uid", String(128), primary_key=True),
    Column("name", String(200), nullable=False, server_default=""),
    Column("unit", String(32), nullable=False, server_default=""),
    Column("type", String(16), nullable=False, server_default="float"),
    Column("group_uid", String(128), nullable=False, server_default=""),
    Column("writable", Boolean, nullable=False, server_default=false()),
    Column("low", Float),
    Column("high", Float),
    Column("position", Integer, nullable=False, server_default="0"),
)

binding = Table(
    "binding",
    MAIN,
    Column("gateway", String(64), ForeignKey("gateway.id"), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _tenant_there(),
    Column("uid", String(128), nullable=False),
    Column("from_us", BigInteger),
    Column("to_us", BigInteger),
    Column("listed", Boolean, nullable=False, server_default=true()),
    Index(None, "tenant_id", "uid"),
)

group_binding = Table(
    "group_binding",
    MAIN,
    Column("gateway", String(64), ForeignKey("gateway.id"), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _tenant_there(),
    Column("uid", String(128), nullable=False),
    Column("epoch", BigInteger, nullable=False),
)

message = Table(
    "message",
    MAIN,
    Column("gateway", String(64), ForeignKey("gateway.id"), primary_key=True),
    Column("uid", String(128), primary_key=True),
    _tenant_there(),
    Column("number", Integer, nullable=False),
    Column("text", String(500), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("acknowledge", Boolean, nullable=False),
    Column("area", String(100), nullable=False),
)

event = Table(
    "event",
    MAIN,
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _tenant_there(),
    Column("id", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("occurrence_us", BigInteger, nullable=False),
    Column("source", String(16), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("signal", Text, nullable=False),
    Column("value", LargeBinary),  # MessagePack: keeps NaN, texts and wide integers as they came
    Column("quality", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("clock_trusted", Boolean, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("comment", Text, nullable=False, server_default=""),
    UniqueConstraint("gateway", "id"),
    Index(None, "tenant_id", "time_us"),
)

alarm = Table(
    "alarm",
    MAIN,
    Column("gateway", String(64), primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("message", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("occurrence_us", BigInteger, primary_key=True, autoincrement=False),
    _tenant_there(),
    Column("store", BigInteger, nullable=False),
    Column("priority", BigInteger, nullable=False, server_default="3"),
    Column("text", Text, nullable=False, server_default=""),
    Column("signal", Text, nullable=False, server_default=""),
    Column("value", LargeBinary),
    Column("raised_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("acknowledged_us", BigInteger),
    Column("acknowledged_by", Text, nullable=False, server_default=""),
    Column("comment", Text, nullable=False, server_default=""),
    # Newest raise of its message, and not both ended and acknowledged: few of many, hence a column.
    Column("is_open", Boolean, nullable=False, server_default=false()),
    Index(None, "gateway", "source", "message", "occurrence_us"),
    Index(None, "tenant_id", "is_open", "raised_us"),
    Index(None, "tenant_id", "raised_us"),
    Index(None, "gateway", "raised_us"),
)

acknowledgement = Table(
    "acknowledgement",
    MAIN,
    # What an operator here acknowledged: one per occurrence, on its way to the gateway or answered.
    Column("gateway", String(64), primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("message", Text, primary_key=True),
    Column("occurrence_us", BigInteger, primary_key=True, autoincrement=False),
    _tenant_there(),
    Column("number", BigInteger, nullable=False),
    Column("id", String(64), nullable=False),  # of the command
    Column("actor", String(200), nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("comment", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("answered_us", BigInteger),
    Column("text", Text, nullable=False, server_default=""),
    # Who the gateway heard first, where it says so.
    Column("first_by", String(200)),
    Column("first_us", BigInteger),
    Column("first_comment", Text),
    UniqueConstraint("id"),
    Index(None, "state", "time_us"),
)

account = Table(
    "account",
    MAIN,
    # The name is unique over all tenants: who signs in says no tenant.
    Column("id", RowId, primary_key=True),
    _tenant_there(),
    Column("name", String(64), nullable=False),
    Column("display_name", String(200), nullable=False),
    Column("password", String(200), nullable=False),  # argon2id; empty: nobody can sign in by password
    Column("language", String(8), nullable=False),  # empty: the browser's
    Column("role", String(16), nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("created_us", BigInteger, nullable=False),
    Column("password_changed_us", BigInteger),
    Column("signed_in_us", BigInteger),
    UniqueConstraint("name"),
)

session = Table(
    "session",
    MAIN,
    # Who is in, in a browser or by a script's token; a row deleted is a session ended.
    Column("id", RowId, primary_key=True),
    _tenant_there(),
    Column("account", BigInteger, ForeignKey("account.id"), nullable=False),
    Column("token", String(64), nullable=False),  # SHA-256 of what the browser or script keeps
    Column("kind", String(16), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("last_seen_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("address", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
    UniqueConstraint("token"),
    Index(None, "account"),
)

entry_link = Table(
    "entry_link",
    MAIN,
    # Links that let in once: to the first run (no account yet) or as an account.
    Column("token", String(64), primary_key=True),  # SHA-256, as in session
    _tenant_there(),
    Column("account", BigInteger, ForeignKey("account.id")),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("used_us", BigInteger),
)

audit = Table(
    "audit",
    MAIN,
    Column("id", RowId, primary_key=True),
    _tenant_there(),
    Column("time_us", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(400), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index(None, "tenant_id", "time_us"),
    Index(None, "subject", "action"),
)

main_holding = _holding(MAIN)
main_quarantine = _quarantine(MAIN)

# --- history.db ------------------------------------------------------------------------------

segment = Table(
    "segment",
    HISTORY,
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _tenant(),
    Column("group_number", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("head_first", BigInteger, nullable=False),
    Column("head_last", BigInteger, nullable=False),
    Column("t_min_us", BigInteger, nullable=False),
    Column("t_max_us", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("digest", BigInteger, nullable=False),  # unsigned 64 bit, kept as two's complement
    Column("clock_trusted", Boolean, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("head_bytes", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("body", LargeBinary),
    Index("ix_segment_time", "gateway", "store", "group_number", "epoch", "t_min_us", "t_max_us"),
    Index("ix_segment_head", "gateway", "store", "group_number", "head_last", "head_first"),
)

series = Table(
    "series",
    HISTORY,
    # One epoch of a group, and what bounds the search for its segments: none spans more than
    # `longest_us`.
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("group_number", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    _tenant(),
    Column("t_min_us", BigInteger, nullable=False),
    Column("t_max_us", BigInteger, nullable=False),
    Column("longest_us", BigInteger, nullable=False),
)

member = Table(
    "member",
    HISTORY,
    # Signals ever seen in an epoch of a group: a row per signal and epoch, none per segment.
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("group_number", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_member_group", "gateway", "store", "group_number", "epoch"),
)

tail = Table(
    "tail",
    HISTORY,
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("group_number", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _tenant(),
    Column("t_min_us", BigInteger, nullable=False),
    Column("t_max_us", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Index("ix_tail_last", "gateway", "store", "group_number", "last"),
)

covered = Table(
    "covered",
    HISTORY,
    Column("gateway", String(64), primary_key=True),
    Column("store", BigInteger, primary_key=True, autoincrement=False),
    Column("group_number", BigInteger, primary_key=True, autoincrement=False),
    Column("head_last", BigInteger, nullable=False),
)

history_holding = _holding(HISTORY)
history_quarantine = _quarantine(HISTORY)
