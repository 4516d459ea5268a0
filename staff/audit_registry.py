"""Registration of audited models: which changes enter the audit log, and which fields never do."""

from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db.models.signals import m2m_changed

from audit import log
from keys.models.reratings import FIGURES

EXCLUDED_FIELDS: dict[str, set[str]] = {
    "keys.APIKey": {"created_by", "public_id"},
    "keys.KeySecret": {"digest", "hint", "idempotency_key", "last_rejected_at", "last_used_at", "pepper_id"},
    "keys.Team": set(),
    "keys.Budget": set(),
    "keys.ModelPrice": set(),
    "keys.PriceModifier": set(),
    "keys.NegotiatedFactor": set(),
    "keys.Bill": {"file_digest", "has_amounts", "has_tokens", "imported_at", "reconciled_at", "result"},
    "keys.SignedOffMonth": {"signed_off_by", "signed_off_at"},
    "keys.UpstreamKeys": set(),
    "keys.Rerating": {
        *FIGURES,
        "is_writing",
        "created_by",
        "finished_at",
        "after_created_at",
        "after_id",
        "after_change",
        "previewed_records",
        "budgets",
        "restored_records",
        "kept_records",
    },
    "messages_api.Upstream": {"credential_set_at", "uid"},
    "messages_api.Route": set(),
    "messages_api.RouteTarget": set(),
    "auth.User": {"date_joined", "last_login"},
    "auth.Group": set(),
}
"""Fields per model that add no information or must stay secret. Every other field is recorded."""

ALWAYS_EXCLUDED = {"id", "created_at"}
MASKED_FIELDS = {"messages_api.Upstream": ["credential_ciphertext"], "auth.User": ["password"]}
"""The log records that these changed, without their values."""

for label, excluded in EXCLUDED_FIELDS.items():
    model = apps.get_model(label)
    auditlog.register(
        model,
        include_fields=[
            field.name for field in model._meta.concrete_fields if field.name not in excluded | ALWAYS_EXCLUDED
        ],
        mask_fields=MASKED_FIELDS.get(label, []),
        mask_callable="audit.sentences.masked",
    )

# auditlog's own receiver records `clear()` as the removal of every row of the table.
for relation in (User.groups, User.user_permissions, Group.permissions):
    m2m_changed.connect(log.record_members, sender=relation.through)
