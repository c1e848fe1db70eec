import django.db.models.deletion
from django.db import migrations, models

from shop.keys import key


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Author",
            fields=[
                ("id", key()),
                ("name", models.CharField(max_length=100, unique=True)),
                ("seen", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="Book",
            fields=[
                ("id", key()),
                ("title", models.CharField(max_length=100)),
                ("price", models.IntegerField(db_index=True)),
                ("note", models.TextField(null=True)),
                ("author", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="shop.author")),
            ],
        ),
    ]
