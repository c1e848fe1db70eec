import os

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

KEY = sa.String(36) if os.environ["SHOP_KEYS"] == "uuid" else sa.Integer


def key():
    # With integers SQLite hands out no number twice, as most who use Alembic have it.
    return sa.Column("id", KEY, primary_key=True)


def upgrade():
    often = {"sqlite_autoincrement": True} if os.environ["SHOP_KEYS"] == "integer" else {}
    op.create_table(
        "authors",
        key(),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("seen", sa.Integer, nullable=False, server_default="0"),
        **often,
    )
    op.create_table(
        "books",
        key(),
        sa.Column("title", sa.String(100), nullable=False),
        sa.Column("price", sa.Integer, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("author_id", KEY, sa.ForeignKey("authors.id", name="book_author"), nullable=False),
        **often,
    )
    op.create_index("book_price", "books", ["price"])
