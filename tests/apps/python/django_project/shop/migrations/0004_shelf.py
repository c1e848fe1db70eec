import django.db.models.deletion
from django.db import migrations, models

from shop.keys import key


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_name_and_pages")]
    operations = [
        migrations.CreateModel(
            name="Shelf", fields=[("id", key()), ("label", models.CharField(max_length=100, unique=True))]
        ),
        migrations.AddField(
            "book", "shelf", models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, to="shop.shelf")
        ),
    ]
