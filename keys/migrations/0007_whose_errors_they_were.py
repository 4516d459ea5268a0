from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0006_why_a_key_never_expires"),
    ]

    operations = [
        migrations.AddField(
            model_name="usagehour",
            name="caller_errors",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
    ]
