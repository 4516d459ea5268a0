"""Upstreams: model endpoints with their credential, timeouts and profile."""

import logging
import uuid

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from lib import encryption
from messages_api.backend.endpoint import Endpoint, Timeouts
from messages_api.backend.protocol.profile import Profile, ProfileInvalid
from messages_api.models.base_url import check_base_url
from messages_api.models.presets import PRESETS

logger = logging.getLogger(__name__)

MAX_TIMEOUT_S = 86_400.0
"""A day. Sockets and leases of usage records overflow with times beyond any use, and then every request fails."""
TIMEOUT = [MinValueValidator(0.1), MaxValueValidator(MAX_TIMEOUT_S)]


class Dialect(models.TextChoices):
    ANTHROPIC = "anthropic", "Anthropic Messages"
    OPENAI = "openai", "OpenAI Chat Completions"


class Upstream(models.Model):
    """A model endpoint: base URL, credential, timeouts and profile."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(
        max_length=64,
        unique=True,
        validators=[RegexValidator(r"^[A-Za-z0-9._-]+$", "Letters, digits and . _ - only.")],
    )
    dialect = models.CharField("API format", max_length=16, choices=Dialect.choices)
    base_url = models.CharField(
        "base URL",
        max_length=300,
        validators=[check_base_url],
        help_text="Such as https://api.anthropic.com or http://127.0.0.1:8081/v1. "
        "Changing it clears the stored credential.",
    )
    credential_ciphertext = models.TextField("credential", blank=True, editable=False)
    credential_set_at = models.DateTimeField(null=True, editable=False)
    connect_timeout_s = models.FloatField("connect timeout", default=5.0, validators=TIMEOUT, help_text="Seconds.")
    first_byte_timeout_s = models.FloatField(
        "first-byte timeout", default=120.0, validators=TIMEOUT, help_text="Seconds."
    )
    idle_timeout_s = models.FloatField(
        "idle timeout", default=90.0, validators=TIMEOUT, help_text="Seconds between two events of a stream."
    )
    request_timeout_s = models.FloatField(
        "request timeout", default=600.0, validators=TIMEOUT, help_text="Seconds for a request, over all attempts."
    )
    retry_on_timeout = models.BooleanField(
        default=False,
        help_text="Retry after a timeout as well. The first attempt may have been billed already.",
    )
    continue_after_disconnect_s = models.FloatField(
        "continue after client disconnect",
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(MAX_TIMEOUT_S)],
        help_text="Seconds for which the response is read after the client disconnected, for its final usage. "
        "0 ends the request immediately. For providers that bill the complete response in any case.",
    )
    profile_preset = models.CharField(
        max_length=32,
        choices=[(name, title) for name, (title, _) in PRESETS.items()],
        default="portable",
        help_text="Capabilities of the server.",
    )
    profile_overrides = models.JSONField(default=dict, blank=True)
    model_names = models.JSONField(
        "models",
        default=list,
        blank=True,
        help_text="One model name per line, listed for routes with a pattern. "
        "Empty: the models that the upstream lists.",
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
        """Return the preset with the overrides. Raise ProfileInvalid."""
        if not isinstance(self.profile_overrides, dict):
            raise ProfileInvalid("overrides: must be an object")
        return Profile.from_mapping({**PRESETS[self.profile_preset][1], **self.profile_overrides})

    def set_credential(self, credential: str) -> None:
        """Encrypt the credential for this row and base URL. An empty one is not sent."""
        self.credential_ciphertext = encryption.encrypt(credential, bound_to=self._binding()) if credential else ""
        self.credential_set_at = timezone.now() if credential else None

    def has_usable_credential(self) -> bool:
        """Return whether a credential is stored and readable: not after the base URL or the encryption keys changed."""
        try:
            return bool(self._credential())
        except encryption.CredentialUnreadable:
            return False

    def renew_encryption(self) -> bool:
        """Encrypt the credential with the first key. Return whether it changed. Raise CredentialUnreadable."""
        if not self.credential_ciphertext:
            return False
        before = self.credential_ciphertext
        self.credential_ciphertext = encryption.renewed(before, bound_to=self._binding())
        return self.credential_ciphertext != before

    def endpoint(self) -> Endpoint:
        """Return this upstream as an attempt needs it. An unreadable credential is not sent."""
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
        """Return the profile, or the preset alone if the overrides were stored without validation and are invalid."""
        try:
            return self.profile()
        except ProfileInvalid:
            logger.error("Ignoring invalid profile overrides of upstream %s", self.name)
            return Profile.from_mapping(PRESETS[self.profile_preset][1])

    def _credential(self) -> str:
        if not self.credential_ciphertext:
            return ""
        return encryption.decrypt(self.credential_ciphertext, bound_to=self._binding())

    def _binding(self) -> list[str]:
        return [str(self.uid), self.base_url]
