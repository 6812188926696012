"""The first tables: runs, what their events are projected onto, models, data, samples, settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EMPTY = sa.text("''")


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "runs",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("owner", BIG, nullable=True),
        sa.Column("name", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("state", TEXT, server_default=sa.text("'queued'"), nullable=False),
        sa.Column("desired_state", TEXT, server_default=sa.text("'run'"), nullable=False),
        sa.Column("reason", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("origin", TEXT, server_default=sa.text("'terminal'"), nullable=False),
        sa.Column("error", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("run_dir", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("host", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("create_time", sa.Double(), nullable=True),
        sa.Column("config", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("engine", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("dataset", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("model", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("strategy", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("partition", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("alpha", sa.Double(), nullable=True),
        sa.Column("num_clients", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_rounds", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_parameters", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_round", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("current_round", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rounds_completed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_closed", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("created_ts", sa.Double(), nullable=False),
        sa.Column("started_ts", sa.Double(), nullable=True),
        sa.Column("ended_ts", sa.Double(), nullable=True),
        sa.Column("updated_ts", sa.Double(), nullable=False),
        sa.Column("start_ts", sa.Double(), nullable=True),
        sa.Column("last_ts", sa.Double(), nullable=True),
        sa.Column("seconds_before", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended_seconds", sa.Double(), nullable=True),
        sa.Column("recent_seconds", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("best_accuracy", sa.Double(), nullable=True),
        sa.Column("best_round", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("spark", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("updates_accepted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updates_rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updates_late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejections", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=True),
        sa.Column("delta", sa.Double(), nullable=True),
        sa.Column("epsilon_unit", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("privacy", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("privacy_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_created_ts", "runs", ["created_ts"], unique=False)

    op.create_table(
        "settings",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("updated_ts", sa.Double(), nullable=False),
        sa.Column("owner", BIG, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settings")),
    )
    op.create_table(
        "clients",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("sort_key", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_named", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state_round", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("state", TEXT, server_default=sa.text("'idle'"), nullable=False),
        sa.Column("last_seen_ts", sa.Double(), nullable=True),
        sa.Column("asked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_examples", sa.BigInteger(), nullable=True),
        sa.Column("trained_round", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("trained_loss", sa.Double(), nullable=True),
        sa.Column("trained_accuracy", sa.Double(), nullable=True),
        sa.Column("evaluated_round", sa.BigInteger(), server_default=sa.text("-1"), nullable=False),
        sa.Column("evaluated_loss", sa.Double(), nullable=True),
        sa.Column("evaluated_accuracy", sa.Double(), nullable=True),
        sa.Column("train_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_timed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_clients_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "client", name=op.f("pk_clients")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_clients_run_key_sort_key_client", "clients", ["run_key", "sort_key", "client"], unique=False)

    op.create_table(
        "datasets",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("class_names", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("num_clients", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_datasets_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", name=op.f("pk_datasets")),
    )
    op.create_table(
        "events",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.Double(), nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_events_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("run_key", "seq", name=op.f("uq_events_run_key_seq")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_type_id", "events", ["type", "id"], unique=False)

    op.create_table(
        "metrics",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("server_round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_metrics_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "source", "name", "server_round", name=op.f("pk_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "models",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("server_round", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("parent", TEXT, nullable=True),
        sa.Column("created_ts", sa.Double(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("file_digest", TEXT, nullable=True),
        sa.Column("owner", BIG, nullable=True),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_models_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("run_key", "server_round", name=op.f("uq_models_run_key_server_round")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_models_digest", "models", ["digest"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("run_key", BIG, nullable=True),
        sa.Column("scope", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("device", BIG, nullable=True),
        sa.Column("node", TEXT, nullable=False),
        sa.Column("kind", TEXT, server_default=sa.text("'client'"), nullable=False),
        sa.Column("host", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("last_seen_ts", sa.Double(), nullable=False),
        sa.Column("cpu_percent", sa.Double(), nullable=True),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_percent", sa.Double(), nullable=True),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gpu_percent", sa.Double(), nullable=True),
        sa.Column("gpu_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("capabilities", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("num_samples", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_kept", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stride", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_nodes_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sa.UniqueConstraint("scope", "node", name=op.f("uq_nodes_scope_node")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_nodes_run_key", "nodes", ["run_key"], unique=False)

    op.create_table(
        "partitions",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("place", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_examples", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("histogram", TEXT, server_default=sa.text("'[]'"), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_partitions_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "client", name=op.f("pk_partitions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refusals",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("server_round", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("ts", sa.Double(), nullable=False),
        sa.Column("reason", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("detail", TEXT, server_default=EMPTY, nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_refusals_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "seq", name=op.f("pk_refusals")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_refusals_run_key_server_round", "refusals", ["run_key", "server_round"], unique=False)

    op.create_table(
        "rounds",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("server_round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", TEXT, server_default=sa.text("'open'"), nullable=False),
        sa.Column("is_closed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_ts", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("phase", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("phase_ts", sa.Double(), nullable=True),
        sa.Column("phase_asked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("phase_answered", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("phase_late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("client_loss", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("client_accuracy", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("clients_evaluated", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("is_evaluated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("train_accuracy", sa.Double(), nullable=True),
        sa.Column("model_digest", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("kept_old_model", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("accepted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("capped", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("num_examples", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("evaluations_accepted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("evaluations_rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("evaluations_late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejections", TEXT, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("bytes_received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("collect_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("aggregate_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("evaluate_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("checkpoint_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_rounds_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "server_round", name=op.f("pk_rounds")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "updates",
        sa.Column("run_key", BIG, autoincrement=False, nullable=False),
        sa.Column("server_round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("client", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("place", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("changed_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", TEXT, server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("ts", sa.Double(), nullable=False),
        sa.Column("asked_ts", sa.Double(), nullable=True),
        sa.Column("start_s", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("compute_seconds", sa.Double(), nullable=True),
        sa.Column("reason", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("detail", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("num_examples", sa.BigInteger(), nullable=True),
        sa.Column("num_bytes", sa.BigInteger(), nullable=True),
        sa.Column("norm", sa.Double(), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("metrics", TEXT, server_default=EMPTY, nullable=False),
        sa.Column("times_rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("times_late", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["runs.id"], name=op.f("fk_updates_run_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_key", "server_round", "phase", "client", name=op.f("pk_updates")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_updates_run_key_client_server_round", "updates", ["run_key", "client", "server_round"], unique=False
    )
    op.create_index("ix_updates_run_key_seq_place", "updates", ["run_key", "seq", "place"], unique=True)

    op.create_table(
        "device_samples",
        sa.Column("node_key", BIG, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.Double(), nullable=False),
        sa.Column("cpu_percent", sa.Double(), nullable=True),
        sa.Column("rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_percent", sa.Double(), nullable=True),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gpu_percent", sa.Double(), nullable=True),
        sa.Column("gpu_memory_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["node_key"], ["nodes.id"], name=op.f("fk_device_samples_node_key"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node_key", "number", name=op.f("pk_device_samples")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Go back."""
    for table in (
        "device_samples",
        "updates",
        "rounds",
        "refusals",
        "partitions",
        "nodes",
        "models",
        "metrics",
        "events",
        "datasets",
        "clients",
        "settings",
        "runs",
    ):
        op.drop_table(table)
