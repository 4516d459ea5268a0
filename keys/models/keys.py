"""API keys, their secrets and their state changes. The only writer of both tables."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Max, OuterRef, Q, Subquery
from django.utils import timezone

from keys.domain import raw_key, team_ceilings
from keys.models.access_policy import AccessPolicy
from keys.models.key_state import KeyState, blocking_states, in_state
from keys.models.teams import Team
from lib.networks import is_network

MAX_REQUEST_DURATION = timedelta(hours=1)
"""Upper bound of the lifetime of an in-flight request."""


class KeyRevoked(Exception):
    """The key is revoked: it cannot be rotated."""


def new_public_id() -> str:
    """Return a random public ID, unrelated to the raw key."""
    return "key_" + raw_key.random_text(16)


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def in_state(self, state: KeyState) -> "APIKeyQuerySet":
        return self.filter(in_state(state, now=timezone.now()))

    def active(self) -> "APIKeyQuerySet":
        """Usable keys."""
        return self.in_state(KeyState.ACTIVE)

    def compromised(self) -> "APIKeyQuerySet":
        """Keys revoked as compromised recently enough to still have in-flight requests."""
        return self.filter(revocation_reason="compromised", revoked_at__gt=timezone.now() - MAX_REQUEST_DURATION)

    def last_use(self) -> Subquery:
        """Return a subquery for the latest use of any secret of a key, to select or to order by."""
        of_key = KeySecret.objects.order_by().filter(api_key=OuterRef("pk")).values("api_key")
        return Subquery(of_key.annotate(latest=Max("last_used_at")).values("latest"))

    def with_last_use(self) -> "APIKeyQuerySet":
        """Annotate `last_used_at`: the latest use of any secret of the key, or None.

        A subquery, because a join would group all keys even when a page shows only a few.
        """
        return self.annotate(last_used_at=self.last_use())

    def with_raw_key(self, raw: str) -> "APIKeyQuerySet":
        """The key with this raw key, found by its digest."""
        return self.filter(secrets__digest__in=raw_key.possible_digests(raw, peppers=settings.API_KEY_PEPPERS))


class APIKeyManager(models.Manager.from_queryset(APIKeyQuerySet)):  # type: ignore[misc]
    @transaction.atomic
    def issue(self, *, idempotency_key: str | None = None, **fields: object) -> tuple["APIKey", str]:
        """Create a key with its first secret. Return it with its raw key, which is not stored.

        Raise IntegrityError and issue nothing if the idempotency key was used before.
        """
        api_key = self.create(**fields)
        _, raw = api_key.secrets.issue(idempotency_key=idempotency_key)
        return api_key, raw


class APIKey(AccessPolicy):
    """An API key: owner, access policy and state. Secrets are separate rows, so rotation keeps ID and history."""

    class RevocationReason(models.TextChoices):
        UNUSED = "unused", "no longer needed"
        REPLACED = "replaced", "replaced by another key"
        OWNER_LEFT = "owner_left", "owner left"
        COMPROMISED = "compromised", "compromised"
        OTHER = "other", "other"

    public_id = models.CharField(max_length=20, unique=True, default=new_public_id, editable=False)
    name = models.CharField(max_length=100, help_text="Client or system that uses the key.")
    purpose = models.TextField(blank=True, help_text="What the key is used for.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="User responsible for the key. The key stops working when the user is deactivated.",
    )
    team = models.ForeignKey(
        Team,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="api_keys",
        help_text="Team that owns the key. Team limits apply to all its keys combined.",
    )
    allowed_ips = models.JSONField("IP allowlist", default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never expires.")
    no_expiry_reason = models.CharField("reason for no expiry", max_length=200, blank=True, default="")
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
    def state(self) -> KeyState:
        return next(iter(self.blocking_states()), KeyState.ACTIVE)

    def blocking_states(self) -> list[KeyState]:
        """Return every state that makes the key unusable now, in order of precedence."""
        return blocking_states(self, now=timezone.now())

    @property
    def owner_name(self) -> str:
        """Name of the owning team or user."""
        return self.team.name if self.team else self.owner.get_username() if self.owner else ""

    def clean(self) -> None:
        super().clean()
        if (self.owner_id is None) == (self.team_id is None):
            raise ValidationError({"team": "Choose a user or a team as the owner."})
        if not isinstance(self.allowed_ips, list) or not all(map(is_network, self.allowed_ips)):
            raise ValidationError({"allowed_ips": "Enter a list of IP addresses or CIDR ranges."})
        if not isinstance(self.metadata, dict) or not all(isinstance(value, str) for value in self.metadata.values()):
            raise ValidationError({"metadata": "Enter name=text pairs."})
        if self.team is not None and (excess := team_ceilings.exceeding_fields(self, self.team, name=self.team.name)):
            raise ValidationError(excess)

    def disable(self) -> None:
        """Disable the key. `enable` reverses it."""
        self._set(disabled_at=timezone.now())

    def enable(self) -> None:
        """Enable a disabled key. A revoked key stays revoked."""
        self._set(disabled_at=None)

    @property
    def can_be_extended(self) -> bool:
        """Whether the key has an expiry that can be postponed. A revoked key cannot be extended."""
        return self.revoked_at is None and self.expires_at is not None

    def extend(self, *, by: timedelta) -> None:
        """Postpone the expiry, counted from the current one, or from now if the key has expired."""
        if self.expires_at is not None:
            self._set(expires_at=max(self.expires_at, timezone.now()) + by)

    def revoke(self, *, reason: str = RevocationReason.OTHER, note: str = "") -> None:
        """Revoke the key, which cannot be undone. Effective in every process within CONFIG_CACHE_TTL_S (5 s).

        In-flight streams of a compromised key are terminated within 15 s.
        """
        if self.revoked_at is None:
            self._set(revoked_at=timezone.now(), revocation_reason=reason, revocation_note=note)

    @transaction.atomic
    def rotate(self, *, overlap: timedelta, idempotency_key: str | None = None) -> tuple["KeySecret", str]:
        """Add a secret; the previous one expires after the overlap. Return it with its raw key, which is not stored.

        At most two secrets are valid: older ones expire now. `idempotency_key` as for `issue`. Raise KeyRevoked.
        """
        # Concurrent rotations wait for the lock on the key's row, so each sees the secrets that the other left.
        # NO KEY UPDATE: a full lock would also block inserts that reference the key. The ledger does such inserts
        # while it holds locks of its own, which would deadlock.
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
        return self.secrets.issue(idempotency_key=idempotency_key)

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.save(update_fields=list(fields))


class KeySecretQuerySet(models.QuerySet["KeySecret"]):
    def live(self, now: datetime) -> "KeySecretQuerySet":
        """Secrets that have not expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))


class KeySecretManager(models.Manager.from_queryset(KeySecretQuerySet)):  # type: ignore[misc]
    def issue(self, **fields: object) -> tuple["KeySecret", str]:
        """Add a secret to a key. Return it with its raw key, which is not stored."""
        raw = raw_key.generate()
        pepper = settings.API_KEY_PEPPERS[0]
        secret = self.create(
            digest=raw_key.digest(raw, pepper=pepper),
            pepper_id=raw_key.pepper_id(pepper),
            hint=raw_key.hint(raw),
            **fields,
        )
        return secret, raw


class KeySecret(models.Model):
    """One secret of a key, stored as a digest. The raw key is never stored."""

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="secrets")
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    pepper_id = models.CharField(max_length=8, editable=False)
    hint = models.CharField(max_length=6, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    # The last request rejected because the key was expired, disabled or revoked: a client still uses this secret.
    last_rejected_at = models.DateTimeField(null=True, editable=False)
    # Set by the form that issued the secret: submitting the same form twice issues only one.
    idempotency_key = models.CharField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001

    objects = KeySecretManager()

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return raw_key.shown_hint(self.hint)

    def get_additional_data(self) -> dict[str, str]:
        """Return data for the audit log that lists changes of a secret in the history of its key."""
        return {"part_of": f"{APIKey._meta.label_lower}/{self.api_key_id}"}
