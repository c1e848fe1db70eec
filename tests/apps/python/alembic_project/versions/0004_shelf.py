import os

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"

KEY = sa.String(36) if os.environ["SHOP_KEYS"] == "uuid" else sa.Integer


def upgrade():
    op.create_table(
        "shelf",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("label", sa.String(100), nullable=False, unique=True),
    )
    with op.batch_alter_table("books") as books:
        books.add_column(sa.Column("shelf_id", KEY))
        books.create_foreign_key("book_shelf", "shelf", ["shelf_id"], ["id"])
