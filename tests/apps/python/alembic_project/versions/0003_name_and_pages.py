import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade():
    with op.batch_alter_table("books") as books:
        books.alter_column("title", new_column_name="name")
        books.drop_column("note")
        # A default that the database knows: rows come from machines that do not have the column yet.
        books.add_column(sa.Column("pages", sa.Integer, nullable=False, server_default="0"))
