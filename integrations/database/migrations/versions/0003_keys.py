"""API keys, and how often they were changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("plugins", sa.JSON),
        sa.Column("actions", sa.JSON),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("by", sa.String(255), nullable=False),
        sa.Column("expires", sa.Double),
        sa.Column("revoked", sa.Double),
        sa.Column("revoked_by", sa.String(255), nullable=False),
        sa.Column("mark", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
        sa.UniqueConstraint("mark", name="uq_keys_mark"),
    )
    changes = op.create_table(
        "key_changes",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_changes"),
    )
    op.bulk_insert(changes, [{"id": 1, "number": 0}])
