"""Which tables leave an entry in the audit log when a row changes, and what of a row never enters it."""

from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db.models.signals import m2m_changed

from audit import log

LEFT_OUT: dict[str, set[str]] = {
    "keys.APIKey": {"created_by", "public_id"},
    "keys.KeySecret": {"digest", "hint", "idempotency_key", "last_rejected_at", "last_used_at", "pepper_id"},
    "keys.Team": set(),
    "keys.Budget": set(),
    "keys.ModelPrice": set(),
    "messages_api.Upstream": {"credential_set_at", "uid"},
    "messages_api.Route": set(),
    "messages_api.RouteTarget": set(),
    "auth.User": {"date_joined", "last_login"},
    "auth.Group": set(),
}
"""By table, what says nothing of its own or must not be known. What is not named here is recorded."""

NEVER = {"id", "created_at"}
SECRET = {"messages_api.Upstream": ["credential_ciphertext"], "auth.User": ["password"]}
"""Of these the log says that they changed, and nothing else."""

for label, left_out in LEFT_OUT.items():
    model = apps.get_model(label)
    auditlog.register(
        model,
        include_fields=[field.name for field in model._meta.concrete_fields if field.name not in left_out | NEVER],
        mask_fields=SECRET.get(label, []),
        mask_callable="audit.sentences.masked",
    )

# auditlog's own receiver takes `clear()` for the removal of every row that there is.
for relation in (User.groups, User.user_permissions, Group.permissions):
    m2m_changed.connect(log.note_members, sender=relation.through)
