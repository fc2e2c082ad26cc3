"""Plugins that came through the API, their revisions, and answers to orders with an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "plugins",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("uid", sa.String(16), nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_plugins"),
    )
    op.create_table(
        "revisions",
        sa.Column("plugin", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["plugin"], ["plugins.name"], name="fk_revisions_plugin", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("plugin", "number", name="pk_revisions"),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("plugin", sa.String(63), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
    )
    op.create_index("ix_answers_at", "answers", ["at"])
