import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade():
    op.execute("DELETE FROM books WHERE price < 0")
    with op.batch_alter_table("books") as books:
        books.alter_column("price", existing_type=sa.Integer, type_=sa.String(20))
