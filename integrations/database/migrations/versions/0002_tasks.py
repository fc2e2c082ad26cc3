"""Tasks, their runs, and calls that are answered later."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _tasks()
    _runs()
    _calls()


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(160), nullable=False),
        sa.Column("times", sa.String(255), nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("ready", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("interrupted", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("held_until", sa.Double, nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_ready", "tasks", ["ready"])


def _runs() -> None:
    op.create_table(
        "task_runs",
        sa.Column("number", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("task", sa.String(160), nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_task_runs"),
    )
    op.create_index("ix_task_runs_task", "task_runs", ["task"])
    op.create_index("ix_task_runs_ended", "task_runs", ["ended"])


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("caller", sa.String(255), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("plugin", sa.String(63), nullable=False),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ready", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("interrupted", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("held_until", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("status", sa.Integer),
        sa.Column("media_type", sa.String(255), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("cut", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
        sa.UniqueConstraint("caller", "key", name="uq_calls_caller"),
    )
    for column in ("plugin", "at", "state", "ready", "ended"):
        op.create_index(f"ix_calls_{column}", "calls", [column])
