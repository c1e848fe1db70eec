from django.db import migrations, models


def drop_free_books(apps, _):
    apps.get_model("shop", "Book").objects.filter(price__lt=0).delete()


class Migration(migrations.Migration):
    """Django makes the table anew for the changed field; rows go in the same migration."""

    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RunPython(drop_free_books, migrations.RunPython.noop),
        migrations.AlterField("book", "price", models.CharField(max_length=20, db_index=True)),
    ]
