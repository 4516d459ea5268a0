from django.db import migrations, models


def take_the_time_it_needs(apps, schema_editor):
    """A server that answers pages gives up after some seconds; an index over millions of rows needs longer."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET LOCAL statement_timeout = 0")


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0003_calls_of_a_key_that_went_wrong"),
    ]

    operations = [
        migrations.RunPython(take_the_time_it_needs, migrations.RunPython.noop),
        migrations.AddField(
            model_name="keysecret",
            name="last_refused_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="usagehour",
            index=models.Index(fields=["model", "hour"], name="usage_model_hour"),
        ),
        migrations.AddIndex(
            model_name="usagehour",
            index=models.Index(
                condition=models.Q(("unpriced_calls__gt", 0)),
                fields=["model", "upstream", "hour"],
                name="usage_unpriced",
            ),
        ),
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(fields=["created_at"], name="apikey_created"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(
                condition=models.Q(("settled_at", None)), fields=["created_at"], name="usage_running"
            ),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(
                condition=models.Q(("price__isnull", False)), fields=["price"], name="usage_price"
            ),
        ),
    ]
