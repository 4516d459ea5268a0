"""The model servers behind the gateway, and which of them answers for which model."""

import logging
import uuid

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from lib import encryption, model_patterns
from messages_api.backend.endpoint import Endpoint, Timeouts
from messages_api.backend.protocol.profile import Profile, ProfileInvalid
from messages_api.models.base_url import check_base_url
from messages_api.models.presets import PRESETS

logger = logging.getLogger(__name__)

POSITIVE = [MinValueValidator(0.1)]


class Dialect(models.TextChoices):
    ANTHROPIC = "anthropic", "Anthropic Messages"
    OPENAI = "openai", "OpenAI Chat Completions"


class Upstream(models.Model):
    """A model server: its address, what we show to it, and how long it may take."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(
        max_length=64, unique=True, validators=[RegexValidator(r"^[A-Za-z0-9._-]+$", "Letters, digits, . _ - only.")]
    )
    dialect = models.CharField(max_length=16, choices=Dialect.choices)
    base_url = models.CharField(
        "base URL",
        max_length=300,
        validators=[check_base_url],
        help_text="Such as https://api.anthropic.com or http://127.0.0.1:8081/v1. "
        "Changing it clears the stored credential.",
    )
    credential_ciphertext = models.TextField("credential", blank=True, editable=False)
    credential_set_at = models.DateTimeField(null=True, editable=False)
    connect_timeout_s = models.FloatField("connect", default=5.0, validators=POSITIVE, help_text="Seconds.")
    first_byte_timeout_s = models.FloatField("first byte", default=120.0, validators=POSITIVE, help_text="Seconds.")
    idle_timeout_s = models.FloatField(
        "silence", default=90.0, validators=POSITIVE, help_text="Seconds between two events of a stream."
    )
    request_timeout_s = models.FloatField(
        "total", default=600.0, validators=POSITIVE, help_text="Seconds for a whole call, over all attempts."
    )
    retry_on_timeout = models.BooleanField(
        "try again after a timeout",
        default=False,
        help_text="Also when a deadline has passed. The model may have answered by then, and its answer may be billed.",
    )
    continue_after_disconnect_s = models.FloatField(
        "read on",
        default=0.0,
        validators=[MinValueValidator(0.0)],
        help_text="Seconds for which the rest of an answer is read after its caller has left, for its final usage. "
        "0: the upstream is cut at once. For vendors that bill the whole answer in any case.",
    )
    profile_preset = models.CharField(
        max_length=32,
        choices=[(name, title) for name, (title, _) in PRESETS.items()],
        default="portable",
        help_text="What this kind of server can and cannot do.",
    )
    profile_overrides = models.JSONField(
        default=dict, blank=True, help_text='Where this server differs from its kind, such as {"max_stop": 4}.'
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        try:
            self.profile()
        except ProfileInvalid as error:
            raise ValidationError({"profile_overrides": str(error)}) from error

    def profile(self) -> Profile:
        """What this upstream can and cannot do: its preset, and what differs. Raise ProfileInvalid."""
        if not isinstance(self.profile_overrides, dict):
            raise ProfileInvalid("overrides: must be an object")
        return Profile.from_mapping({**PRESETS[self.profile_preset][1], **self.profile_overrides})

    def set_credential(self, credential: str) -> None:
        """Store what this upstream wants to see, encrypted for this row and this base URL. Empty: nothing is sent."""
        self.credential_ciphertext = encryption.encrypt(credential, bound_to=self._binding()) if credential else ""
        self.credential_set_at = timezone.now() if credential else None

    def has_usable_credential(self) -> bool:
        """Whether one is stored and readable: none is after the base URL or the encryption keys changed."""
        try:
            return bool(self._credential())
        except encryption.CredentialUnreadable:
            return False

    def renew_encryption(self) -> bool:
        """Whether the credential had to be encrypted anew with the first key. Raise CredentialUnreadable."""
        if not self.credential_ciphertext:
            return False
        before = self.credential_ciphertext
        self.credential_ciphertext = encryption.renewed(before, bound_to=self._binding())
        return self.credential_ciphertext != before

    def endpoint(self) -> Endpoint:
        """This upstream as an attempt needs it. An unreadable credential is sent to nobody."""
        try:
            credential = self._credential()
        except encryption.CredentialUnreadable:
            credential = ""
        return Endpoint(
            name=self.name,
            dialect=self.dialect,
            base_url=self.base_url,
            credential=credential,
            profile=self._readable_profile(),
            timeouts=Timeouts(
                connect_timeout_s=self.connect_timeout_s,
                first_byte_timeout_s=self.first_byte_timeout_s,
                idle_timeout_s=self.idle_timeout_s,
                request_timeout_s=self.request_timeout_s,
            ),
            retry_on_timeout=self.retry_on_timeout,
            continue_after_disconnect_s=self.continue_after_disconnect_s,
            ca_file=settings.UPSTREAM_CA_FILE,
        )

    def _readable_profile(self) -> Profile:
        """The profile; that of the preset alone if the overrides were spoiled on a road that checks nothing."""
        try:
            return self.profile()
        except ProfileInvalid:
            logger.error("The overrides of the upstream %s cannot be read and are left out", self.name)
            return Profile.from_mapping(PRESETS[self.profile_preset][1])

    def _credential(self) -> str:
        if not self.credential_ciphertext:
            return ""
        return encryption.decrypt(self.credential_ciphertext, bound_to=self._binding())

    def _binding(self) -> list[str]:
        return [str(self.uid), self.base_url]


class Route(models.Model):
    """A model name, or a pattern of names, and the targets that answer for it."""

    pattern = models.CharField(
        max_length=256,
        unique=True,
        help_text="A model name, a prefix such as claude-*, or * for every model that no other route matches.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pattern"]

    def __str__(self) -> str:
        return self.pattern

    def clean(self) -> None:
        if not model_patterns.is_valid(self.pattern):
            raise ValidationError({"pattern": "A * may stand at the end only."})


class RouteTarget(models.Model):
    """One choice of a route. The lowest priority comes first; equal ones share by weight."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    upstream = models.ForeignKey(Upstream, on_delete=models.PROTECT, related_name="targets")
    model = models.CharField(
        max_length=256, blank=True, help_text="The model's name there. Empty: the name that the caller asked for."
    )
    priority = models.PositiveSmallIntegerField(
        default=0, help_text="The lowest is asked first; the others when those have failed."
    )
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1)],
        help_text="Among equal priorities, 3 is asked first three times as often as 1.",
    )

    class Meta:
        ordering = ["priority", "-weight", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["route", "upstream", "model"], name="one_target_an_upstream_and_model")
        ]

    def __str__(self) -> str:
        return f"{self.upstream} {self.model}".strip()

    def get_additional_data(self) -> dict[str, str]:
        """For the audit log: a target's changes stand in the history of its route."""
        return {"part_of": f"{Route._meta.label_lower}/{self.route_id}"}
