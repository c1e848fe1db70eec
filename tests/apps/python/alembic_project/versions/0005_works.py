from alembic import op

revision, down_revision = "0005", "0004"


def upgrade():
    op.rename_table("books", "works")
