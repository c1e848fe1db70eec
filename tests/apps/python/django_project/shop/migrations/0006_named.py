from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0005_work")]
    operations = [
        migrations.AddConstraint("work", models.CheckConstraint(condition=~models.Q(name=""), name="work_has_a_name")),
    ]
