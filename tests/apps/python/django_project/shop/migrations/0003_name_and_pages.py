from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_price_as_text")]
    operations = [
        migrations.RenameField("book", "title", "name"),
        migrations.RemoveField("book", "note"),
        # A default that the database knows: rows come from machines that do not have the column yet.
        migrations.AddField("book", "pages", models.IntegerField(db_default=0)),
    ]
