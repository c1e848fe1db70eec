from alembic import op

revision, down_revision = "0006", "0005"


def upgrade():
    with op.batch_alter_table("works") as works:
        works.create_check_constraint("work_has_a_name", "name <> ''")
