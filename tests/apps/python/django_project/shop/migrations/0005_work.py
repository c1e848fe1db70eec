from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0004_shelf")]
    operations = [migrations.RenameModel("Book", "Work")]
