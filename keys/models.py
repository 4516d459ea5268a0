"""Who may call, and what they used. Keys are written by their managers, usage records by `ledger.py` alone."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Max, Q
from django.utils import timezone

from keys import hashing


def new_public_id() -> str:
    """A random name for a key, unrelated to its raw key."""
    return "key_" + hashing.random_text(16)


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def usable(self) -> "APIKeyQuerySet":
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), disabled_at=None, revoked_at=None)

    def expired(self) -> "APIKeyQuerySet":
        return self.filter(expires_at__lte=timezone.now(), revoked_at=None)

    def disabled(self) -> "APIKeyQuerySet":
        return self.exclude(disabled_at=None).filter(revoked_at=None)

    def revoked(self) -> "APIKeyQuerySet":
        return self.exclude(revoked_at=None)

    def with_last_use(self) -> "APIKeyQuerySet":
        """Annotate `last_used_at`: the latest use of any of the key's secrets, or None."""
        return self.annotate(last_used_at=Max("secrets__last_used_at"))

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


class APIKey(models.Model):
    """A key with its life and its rules. Its secrets are rows of their own, so rotation keeps id and history."""

    public_id = models.CharField(max_length=20, unique=True, default=new_public_id, editable=False)
    name = models.CharField(max_length=100, help_text="Who or what calls with this key.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="api_keys",
        help_text="Answers for the key. When the owner is deactivated, the key stops.",
    )
    allowed_models = models.JSONField(
        default=list,
        blank=True,
        help_text="The models it may call; a name may end in *. Empty: every model that has a route.",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: the key does not expire.")
    created_at = models.DateTimeField(auto_now_add=True)
    disabled_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoke_reason = models.CharField(max_length=200, blank=True, editable=False)

    objects = APIKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]
        permissions = [
            ("issue_apikey", "Can issue an API key"),
            ("disable_apikey", "Can disable and enable an API key"),
            ("revoke_apikey", "Can revoke an API key"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"

    @property
    def state(self) -> str:
        """`revoked`, `disabled`, `expired` or `usable`: the strongest that holds."""
        if self.revoked_at:
            return "revoked"
        if self.disabled_at:
            return "disabled"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "usable"

    def clean(self) -> None:
        if not isinstance(self.allowed_models, list) or not all(
            isinstance(name, str) and name.strip() for name in self.allowed_models
        ):
            raise ValidationError({"allowed_models": "Give a list of model names."})

    def disable(self) -> None:
        """Pause the key. `enable` brings it back."""
        self._set(disabled_at=timezone.now())

    def enable(self) -> None:
        """End the pause. A revoked key stays revoked."""
        self._set(disabled_at=None)

    def revoke(self, *, reason: str = "") -> None:
        """End the key for good; its history stays. Effective everywhere within the snapshot's life (5 s)."""
        if self.revoked_at is None:
            self._set(revoked_at=timezone.now(), revoke_reason=reason)

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.save(update_fields=list(fields))


class KeySecretManager(models.Manager["KeySecret"]):
    def issue(self, *, token: str | None = None, **fields: object) -> tuple["KeySecret", str]:
        """Add a secret to a key. Return it with its raw key, which is stored nowhere."""
        raw = hashing.generate()
        pepper = settings.API_KEY_PEPPERS[0]
        secret = self.create(
            digest=hashing.digest(raw, pepper=pepper),
            pepper_id=hashing.pepper_id(pepper),
            hint=hashing.hint(raw),
            issue_token=token,
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
    # Set by the form that issued it: the same form sent twice issues once.
    issue_token = models.CharField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001

    objects = KeySecretManager()

    class Meta:
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{hashing.PREFIX}{self.hint}…"


def digests(raw: str) -> list[bytes]:
    """The digests that a raw key may be stored under: one for each pepper that still verifies."""
    return [hashing.digest(raw, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]


class UsageRecord(models.Model):
    """One call: written before the upstream is asked, settled exactly once. Counts, never a prompt or an answer."""

    class Status(models.TextChoices):
        STARTED = "started"
        COMPLETED = "completed"
        FAILED = "failed"
        CLIENT_CLOSED = "client_closed"
        CLIENT_STALLED = "client_stalled"
        ORPHANED = "orphaned"
        REFUSED = "refused"

    class UsageSource(models.TextChoices):
        REPORTED = "reported"
        PARTIAL = "partial"
        ESTIMATED = "estimated"
        NONE = "none"

    id = models.CharField(max_length=36, primary_key=True)  # the request id: sorts by time
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.STARTED)
    http_status = models.PositiveSmallIntegerField(null=True)
    error_type = models.CharField(max_length=40, blank=True)
    stop_reason = models.CharField(max_length=40, blank=True)

    # Who called, and how.
    api_key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="usage", db_index=False)
    secret = models.ForeignKey(KeySecret, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    lane = models.CharField(max_length=16)
    model = models.CharField(max_length=256)
    streamed = models.BooleanField()
    caller_address = models.GenericIPAddressField(null=True)
    caller_request_id = models.CharField(max_length=128, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)

    # What served it. Names, since the gateway's upstreams come and go and the ledger stays.
    upstream = models.CharField(max_length=64, blank=True)
    upstream_model = models.CharField(max_length=256, blank=True)
    upstream_request_id = models.CharField(max_length=128, blank=True)
    message_id = models.CharField(max_length=128, blank=True)
    attempts = models.JSONField(default=list)

    # Tokens. None where nobody said; never 0 for unknown.
    estimated_input_tokens = models.BigIntegerField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cache_read_tokens = models.BigIntegerField(null=True)
    cache_write_5m_tokens = models.BigIntegerField(null=True)
    cache_write_1h_tokens = models.BigIntegerField(null=True)
    thinking_tokens = models.BigIntegerField(null=True)
    usage_source = models.CharField(max_length=16, choices=UsageSource.choices, blank=True)

    # Time, and who would notice if the worker died.
    ttft_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    boot_id = models.CharField(max_length=48)
    lease_expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["created_at"], name="usage_created"),
            models.Index(fields=["api_key", "created_at"], name="usage_key_created"),
            models.Index(fields=["boot_id"], name="usage_open_boot", condition=Q(status="started")),
            models.Index(fields=["lease_expires_at"], name="usage_open_lease", condition=Q(status="started")),
        ]
        constraints = [
            models.CheckConstraint(
                name="usage_settled_or_started",
                condition=Q(status="started", settled_at=None) | (~Q(status="started") & Q(settled_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="usage_tokens_not_negative",
                condition=Q(input_tokens=None) | Q(input_tokens__gte=0),
            ),
        ]
        permissions = [("export_usage", "Can export usage")]

    def __str__(self) -> str:
        return self.id
