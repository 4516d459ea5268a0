"""The keys, their secrets and their life. Written by the managers and methods here, by nobody else."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Max, OuterRef, Q, Subquery
from django.utils import timezone

from keys.domain import raw_key, team_ceilings
from keys.models.rules import AccessPolicy
from keys.models.teams import Team
from lib.networks import is_network

LONGEST_CALL = timedelta(hours=1)


class KeyRevoked(Exception):
    """The key has ended for good: nothing is issued for it any more."""


def new_public_id() -> str:
    """A random name for a key, unrelated to its raw key."""
    return "key_" + raw_key.random_text(16)


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def active(self) -> "APIKeyQuerySet":
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), disabled_at=None, revoked_at=None)

    def compromised(self) -> "APIKeyQuerySet":
        """Those that were revoked as compromised so lately that calls of theirs may still run."""
        return self.filter(revocation_reason="compromised", revoked_at__gt=timezone.now() - LONGEST_CALL)

    def last_use(self) -> Subquery:
        """The latest use of any of a key's secrets, to be selected or to order by."""
        of_key = KeySecret.objects.order_by().filter(api_key=OuterRef("pk")).values("api_key")
        return Subquery(of_key.annotate(latest=Max("last_used_at")).values("latest"))

    def with_last_use(self) -> "APIKeyQuerySet":
        """Annotate `last_used_at`: the latest use of any of the key's secrets, or None.

        Not by a join, for which every key would be grouped, whichever few of them are shown.
        """
        return self.annotate(last_used_at=self.last_use())

    def with_raw_key(self, raw: str) -> "APIKeyQuerySet":
        """The key that a full raw key belongs to, found by its digest."""
        return self.filter(secrets__digest__in=digests(raw))


class APIKeyManager(models.Manager.from_queryset(APIKeyQuerySet)):  # type: ignore[misc]
    @transaction.atomic
    def issue(self, *, token: str | None = None, **fields: object) -> tuple["APIKey", str]:
        """Create a key with its first secret. Return it with its raw key, which is stored nowhere.

        `token` names the form that asked: a second use of it raises IntegrityError and issues nothing.
        """
        api_key = self.create(**fields)
        _, raw = api_key.secrets.issue(token=token)
        return api_key, raw


class APIKey(AccessPolicy):
    """A key with its life and its rules. Its secrets are rows of their own, so rotation keeps id and history."""

    class RevocationReason(models.TextChoices):
        UNUSED = "unused", "no longer needed"
        REPLACED = "replaced", "replaced by another key"
        OWNER_LEFT = "owner_left", "its owner has left"
        COMPROMISED = "compromised", "compromised: somebody else may have it"
        OTHER = "other", "another reason"

    public_id = models.CharField(max_length=20, unique=True, default=new_public_id, editable=False)
    name = models.CharField(max_length=100, help_text="Who or what calls with this key.")
    purpose = models.TextField(blank=True, help_text="What it is for, in your words.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="Answers for the key. When the owner is deactivated, the key stops.",
    )
    team = models.ForeignKey(
        Team,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="Owns the key in place of a person: its rules hold for all its keys together.",
    )
    allowed_ips = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: the key does not expire.")
    no_expiry_reason = models.CharField("why it never expires", max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    disabled_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    revocation_reason = models.CharField(max_length=16, choices=RevocationReason.choices, blank=True, editable=False)
    revocation_note = models.CharField(max_length=200, blank=True, editable=False)

    objects = APIKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        permissions = [
            ("issue_apikey", "Can issue an API key"),
            ("rotate_apikey", "Can rotate an API key"),
            ("disable_apikey", "Can disable and enable an API key"),
            ("revoke_apikey", "Can revoke an API key"),
            ("export_apikey", "Can export the list of API keys"),
        ]
        constraints = [
            models.CheckConstraint(
                name="apikey_of_a_user_or_a_team",
                condition=Q(owner=None, team__isnull=False) | Q(owner__isnull=False, team=None),
            )
        ]
        indexes = [
            models.Index(
                fields=["revoked_at"], name="apikey_compromised", condition=Q(revocation_reason="compromised")
            ),
            models.Index(fields=["created_at"], name="apikey_created"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"

    @property
    def state(self) -> str:
        """`revoked`, `disabled`, `expired`, `owner inactive`, `team disabled` or `active`: the strongest that holds."""
        if self.revoked_at:
            return "revoked"
        if self.disabled_at:
            return "disabled"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        if self.owner and not self.owner.is_active:
            return "owner inactive"
        return "team disabled" if self.team and self.team.disabled_at else "active"

    @property
    def owner_name(self) -> str:
        """The team or the person that answers for it, as people know them."""
        return self.team.name if self.team else self.owner.get_username() if self.owner else ""

    def clean(self) -> None:
        super().clean()
        if (self.owner_id is None) == (self.team_id is None):
            raise ValidationError({"team": "A key belongs to a person or to a team: choose one."})
        if not isinstance(self.allowed_ips, list) or not all(map(is_network, self.allowed_ips)):
            raise ValidationError({"allowed_ips": "Give a list of addresses or networks."})
        if not isinstance(self.metadata, dict) or not all(isinstance(value, str) for value in self.metadata.values()):
            raise ValidationError({"metadata": "Give pairs of a name and a text."})
        if self.team is not None and (excess := team_ceilings.exceeding_fields(self, self.team, name=self.team.name)):
            raise ValidationError(excess)

    def disable(self) -> None:
        """Pause the key. `enable` brings it back."""
        self._set(disabled_at=timezone.now())

    def enable(self) -> None:
        """End the pause. A revoked key stays revoked."""
        self._set(disabled_at=None)

    @property
    def can_be_extended(self) -> bool:
        """Whether it has an end that can be moved. What was revoked has ended for good."""
        return self.revoked_at is None and self.expires_at is not None

    def extend(self, *, by: timedelta) -> None:
        """Move the end of the key: from where it is, or from now on if it is over; then the key works again."""
        if self.expires_at is not None:
            self._set(expires_at=max(self.expires_at, timezone.now()) + by)

    def revoke(self, *, reason: str = "", kind: str = RevocationReason.OTHER) -> None:
        """End the key for good; its history stays. Effective everywhere within the snapshot's life (5 s).

        One that is compromised takes its running streams with it, within 15 s.
        """
        if self.revoked_at is None:
            self._set(revoked_at=timezone.now(), revocation_note=reason, revocation_reason=kind)

    @transaction.atomic
    def rotate(self, *, overlap: timedelta, token: str | None = None) -> tuple["KeySecret", str]:
        """Add a secret; the others expire after the overlap. Return it with its raw key, which is stored nowhere.

        At most two are live: older ones than the last end now. `token` as for `issue`. Raise KeyRevoked.
        """
        # The row of the key is what two who rotate at once wait at: each then sees the secrets that the other left.
        # Rows that refer to it may go on being written: the ledger, which writes such, would wait in a circle with us.
        if APIKey.objects.select_for_update(no_key=True).get(pk=self.pk).revoked_at is not None:
            raise KeyRevoked
        now = timezone.now()
        secrets = KeySecret.objects.select_for_update(no_key=True).filter(api_key=self)
        live = list(secrets.live(now).order_by("-created_at"))
        for position, secret in enumerate(live):
            end = now + overlap if position == 0 else now
            if secret.expires_at is None or secret.expires_at > end:
                secret.expires_at = end
                secret.save(update_fields=["expires_at"])
        return self.secrets.issue(token=token)

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.save(update_fields=list(fields))


class KeySecretQuerySet(models.QuerySet["KeySecret"]):
    def live(self, now: datetime) -> "KeySecretQuerySet":
        """Those that have not expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))


class KeySecretManager(models.Manager.from_queryset(KeySecretQuerySet)):  # type: ignore[misc]
    def issue(self, *, token: str | None = None, **fields: object) -> tuple["KeySecret", str]:
        """Add a secret to a key. Return it with its raw key, which is stored nowhere."""
        raw = raw_key.generate()
        pepper = settings.API_KEY_PEPPERS[0]
        secret = self.create(
            digest=raw_key.digest(raw, pepper=pepper),
            pepper_id=raw_key.pepper_id(pepper),
            hint=raw_key.hint(raw),
            idempotency_key=token,
            **fields,
        )
        return secret, raw


class KeySecret(models.Model):
    """One secret of a key: its digest, never the raw key."""

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="secrets")
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    pepper_id = models.CharField(max_length=8, editable=False)
    hint = models.CharField(max_length=6, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    # The last call that was turned away because the key is expired, disabled or revoked: somebody still has it.
    last_rejected_at = models.DateTimeField(null=True, editable=False)
    # Set by the form that issued it: the same form sent twice issues once.
    idempotency_key = models.CharField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001

    objects = KeySecretManager()

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{raw_key.PREFIX}{self.hint}…"

    def get_additional_data(self) -> dict[str, str]:
        """For the audit log: a secret's changes stand in the history of its key."""
        return {"part_of": f"{APIKey._meta.label_lower}/{self.api_key_id}"}


def digests(raw: str) -> list[bytes]:
    """The digests that a raw key may be stored under: one for each pepper that still verifies."""
    return [raw_key.digest(raw, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]
