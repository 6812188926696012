"""The tables. Rows of one run carry its number (``runs.id``); texts that are compared are compared byte by byte.

Events are the truth; rounds, updates, refusals, clients, metrics, models and the figures in ``runs`` are made from them
(``app.storage.projection``). Columns named ``seq`` say which event changed a row last, so that a page can ask what is
new. ``owner`` is nobody's yet: accounts will own runs. JSON is kept as ASCII text: both databases store it unchanged,
and a NUL or half a surrogate pair of a hostile name stays escaped.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Key = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")  # sorts alike on both
Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Key, nullable=False, server_default=text(f"'{default}'"))


def _count(name: str, default: int = 0) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _real(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default=text("0"))


def _maybe(name: str) -> Column[float | None]:
    return Column(name, Double)


def _run_key(*, is_key: bool = True) -> Column[int]:
    return Column(
        "run_key",
        Big,
        ForeignKey("runs.id", ondelete="CASCADE"),
        primary_key=is_key,
        nullable=False,
        autoincrement=False,
    )


def _round_key() -> Column[int]:
    return Column("server_round", BigInteger, primary_key=True, nullable=False, autoincrement=False)


RUNS = Table(
    "runs",
    METADATA,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("run_id", Key, nullable=False, unique=True),
    Column("owner", Big),
    _text("name"),
    _text("state", "queued"),
    _text("desired_state", "run"),
    _text("reason"),
    _text("origin", "terminal"),
    _text("error"),
    # The process that trains
    _text("run_dir"),
    _text("host"),
    Column("pid", BigInteger),
    _maybe("create_time"),
    # What it was asked to do
    _text("config", "{}"),
    _text("engine"),
    _text("dataset"),
    _text("model"),
    _text("strategy"),
    _text("partition"),
    _maybe("alpha"),
    _count("num_clients"),
    _count("num_rounds"),
    _count("num_parameters"),
    # Where it stands
    _count("last_seq"),
    _count("max_round", -1),  # the highest round that has a row
    _count("current_round"),
    _count("rounds_completed"),
    _count("last_closed", -1),
    # Times, Unix seconds unless they say otherwise
    Column("created_ts", Double, nullable=False),
    _maybe("started_ts"),
    _maybe("ended_ts"),
    Column("updated_ts", Double, nullable=False),
    _maybe("start_ts"),  # of the latest start
    _maybe("last_ts"),  # of the last event
    _real("seconds_before"),  # of earlier starts
    _maybe("ended_seconds"),  # of the latest start, as it said itself
    _text("recent_seconds", "[]"),  # of the last rounds
    # What came of it
    _maybe("accuracy"),
    _maybe("loss"),
    _maybe("best_accuracy"),
    _count("best_round"),
    _text("spark", "{}"),
    _count("updates_accepted"),
    _count("updates_rejected"),
    _count("updates_late"),
    _text("rejections", "{}"),
    _count("bytes_received"),
    _maybe("epsilon"),
    _maybe("delta"),
    _text("epsilon_unit"),
    _text("privacy"),  # the newest privacy-spent
    _count("privacy_seq"),
    Index(None, "created_ts"),
    sqlite_autoincrement=True,
)

EVENTS = Table(
    "events",
    METADATA,
    Column("id", Big, primary_key=True, autoincrement=True),
    _run_key(is_key=False),
    Column("seq", BigInteger, nullable=False),
    Column("ts", Double, nullable=False),
    Column("type", Key, nullable=False),
    Column("data", Key, nullable=False),
    UniqueConstraint("run_key", "seq"),
    Index(None, "type", "id"),
    sqlite_autoincrement=True,  # an id is never given twice: it is what viewers resume from
)

ROUNDS = Table(
    "rounds",
    METADATA,
    _run_key(),
    _round_key(),
    _count("seq"),
    _count("attempt", 1),
    _text("state", "open"),
    Column("is_closed", Boolean, nullable=False, server_default=text("false")),
    _maybe("started_ts"),
    _real("seconds"),
    # The phase under way, or the last one
    _text("phase"),
    _maybe("phase_ts"),
    _count("phase_asked"),
    _count("phase_answered"),
    _count("phase_late"),
    # The global model
    _maybe("loss"),
    _maybe("accuracy"),
    _text("client_loss"),
    _text("client_accuracy"),
    _text("clients_evaluated"),
    Column("is_evaluated", Boolean, nullable=False, server_default=text("false")),  # by clients, all of them
    _maybe("train_loss"),
    _maybe("train_accuracy"),
    _text("model_digest"),
    Column("kept_old_model", Boolean, nullable=False, server_default=text("false")),
    # Counts; "rejected" and "late" are of every phase but evaluation
    _count("accepted"),
    _count("rejected"),
    _count("late"),
    _count("capped"),
    _count("num_examples"),
    _count("evaluations_accepted"),
    _count("evaluations_rejected"),
    _count("evaluations_late"),
    _text("rejections", "{}"),
    _count("bytes_received"),
    _real("collect_seconds"),
    _real("aggregate_seconds"),
    _real("evaluate_seconds"),
    _real("checkpoint_seconds"),
    _maybe("epsilon"),
    sqlite_with_rowid=False,
)

UPDATES = Table(
    "updates",
    METADATA,
    _run_key(),
    _round_key(),
    Column("phase", Key, primary_key=True, nullable=False),
    Column("client", Key, primary_key=True, nullable=False),
    _count("seq"),  # of the event that made the row, with ``place`` in it: a list's order never changes
    _count("place"),
    _count("changed_seq"),
    _count("attempt", 1),
    _text("state", "waiting"),
    Column("ts", Double, nullable=False),
    _maybe("asked_ts"),
    _real("start_s"),
    _maybe("seconds"),
    _maybe("compute_seconds"),
    _text("reason"),
    _text("detail"),
    Column("num_examples", BigInteger),
    Column("num_bytes", BigInteger),
    _maybe("norm"),
    _maybe("loss"),
    _maybe("accuracy"),
    _text("metrics"),
    _count("times_rejected"),
    _count("times_late"),
    Index(None, "run_key", "seq", "place", unique=True),
    Index(None, "run_key", "client", "server_round"),
    sqlite_with_rowid=False,
)

REFUSALS = Table(
    "refusals",
    METADATA,
    _run_key(),
    Column("seq", BigInteger, primary_key=True, nullable=False, autoincrement=False),
    Column("server_round", BigInteger, nullable=False),
    _count("attempt", 1),
    Column("phase", Key, nullable=False),
    Column("client", Key, nullable=False),
    Column("ts", Double, nullable=False),
    _text("reason"),
    _text("detail"),
    Index(None, "run_key", "server_round"),
    sqlite_with_rowid=False,
)

CLIENTS = Table(
    "clients",
    METADATA,
    _run_key(),
    Column("client", Key, primary_key=True, nullable=False),
    Column("sort_key", Key, nullable=False),  # client-2 before client-10
    _count("seq"),
    Column("is_named", Boolean, nullable=False, server_default=text("false")),  # by the run or its partition
    _count("state_round", -1),
    _text("state", "idle"),  # in that round
    _maybe("last_seen_ts"),
    _count("asked"),
    _count("accepted"),
    _count("rejected"),
    _count("late"),
    Column("claimed_examples", BigInteger),
    _count("trained_round", -1),
    _maybe("trained_loss"),
    _maybe("trained_accuracy"),
    _count("evaluated_round", -1),
    _maybe("evaluated_loss"),
    _maybe("evaluated_accuracy"),
    _real("train_seconds"),
    _count("num_timed"),
    _count("bytes_received"),
    Index(None, "run_key", "sort_key", "client"),
    sqlite_with_rowid=False,
)

METRICS = Table(
    "metrics",
    METADATA,
    _run_key(),
    Column("source", Key, primary_key=True, nullable=False),  # "central", "clients", "train", "evaluate"
    Column("name", Key, primary_key=True, nullable=False),
    _round_key(),
    Column("value", Double, nullable=False),
    sqlite_with_rowid=False,
)

MODELS = Table(
    "models",
    METADATA,
    Column("id", Big, primary_key=True, autoincrement=True),
    _run_key(is_key=False),
    Column("server_round", BigInteger, nullable=False),
    _count("seq"),
    Column("digest", Key, nullable=False),  # of the arrays
    Column("parent", Key),
    Column("created_ts", Double, nullable=False),
    Column("size_bytes", BigInteger),
    Column("file_digest", Key),  # SHA-256 of the file
    Column("owner", Big),
    UniqueConstraint("run_key", "server_round"),
    Index(None, "digest"),
    sqlite_autoincrement=True,
)

DATASETS = Table(
    "datasets",
    METADATA,
    _run_key(),
    _count("seq"),
    _text("class_names", "[]"),
    _count("num_clients"),
)

PARTITIONS = Table(
    "partitions",
    METADATA,
    _run_key(),
    Column("client", Key, primary_key=True, nullable=False),
    _count("place"),
    _count("num_examples"),
    _text("histogram", "[]"),
    sqlite_with_rowid=False,
)

NODES = Table(
    "nodes",
    METADATA,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("run_key", Big, ForeignKey("runs.id", ondelete="CASCADE")),  # none: a machine without a run
    _text("scope"),  # the run's id, or "": unique with the name, which a key that may be missing cannot be
    Column("device", Big),  # the registered one, once there are devices
    Column("node", Key, nullable=False),
    _text("kind", "client"),
    _text("host"),
    Column("last_seen_ts", Double, nullable=False),
    _maybe("cpu_percent"),
    Column("rss_bytes", BigInteger),
    _maybe("memory_percent"),
    Column("sent_bytes", BigInteger),
    Column("received_bytes", BigInteger),
    _maybe("gpu_percent"),
    Column("gpu_memory_bytes", BigInteger),
    _text("capabilities", "{}"),
    _count("num_samples"),  # all that ever came
    _count("num_kept"),
    _count("stride", 1),  # of the older samples one in so many is kept
    UniqueConstraint("scope", "node"),
    Index(None, "run_key"),
    sqlite_autoincrement=True,
)

SAMPLES = Table(
    "device_samples",
    METADATA,
    Column("node_key", Big, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", Double, nullable=False),
    _maybe("cpu_percent"),
    Column("rss_bytes", BigInteger),
    _maybe("memory_percent"),
    Column("sent_bytes", BigInteger),
    Column("received_bytes", BigInteger),
    _maybe("gpu_percent"),
    Column("gpu_memory_bytes", BigInteger),
    sqlite_with_rowid=False,
)

SETTINGS = Table(
    "settings",
    METADATA,
    Column("key", Key, primary_key=True, nullable=False),
    Column("value", Key, nullable=False),
    Column("updated_ts", Double, nullable=False),
    Column("owner", Big),
)
