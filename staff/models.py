"""Who may enter the admin: roles, the second factor, and the logins and changes that are looked at later."""

import secrets
import time
from datetime import timedelta
from typing import Any

from auditlog.models import LogEntry
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin
from django_otp.oath import TOTP
from django_otp.util import random_hex

from keys.domain import raw_key
from lib import encryption

LONGEST_WAIT = timedelta(minutes=5)


class Role(models.Model):
    """A group that ships with the gateway, and what releases have given to it: nothing is given a second time."""

    name = models.CharField(max_length=150, unique=True)
    group = models.OneToOneField(Group, on_delete=models.SET_NULL, null=True, related_name="+")
    granted_permissions = models.JSONField(default=list)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class Authenticator(ThrottlingMixin, Device):
    """
    An app that shows six digits every 30 seconds (RFC 6238), and recovery codes for when it is lost.

    Of our own, since those that come with django-otp keep their secrets readable in the database: here the app's secret
    is encrypted, and of the recovery codes there are digests.
    """

    STEP_S = 30
    CODE_LENGTH = 6
    TOLERANCE = 1
    """One step earlier or later: clocks of phones differ."""

    secret_token = models.TextField(editable=False)
    last_step = models.BigIntegerField(default=-1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user"], name="one_authenticator_a_user")]

    @classmethod
    def start(cls, user: Any) -> "Authenticator":
        """A new one with a secret of its own, in the place of one that was never confirmed. Raise IntegrityError."""
        cls.objects.filter(user=user, confirmed=False).delete()
        started = cls(user=user, name="Authenticator app", confirmed=False)
        started.secret_token = encryption.encrypt(random_hex(20), bound_to=started._binding())
        started.save()
        return started

    def secret(self) -> bytes:
        """What the app shares with us. Raise CredentialUnreadable if the encryption keys have changed."""
        return bytes.fromhex(encryption.decrypt(self.secret_token, bound_to=self._binding()))

    def renew_encryption(self) -> bool:
        """Whether the secret had to be encrypted anew with the first key. Raise CredentialUnreadable."""
        before = self.secret_token
        self.secret_token = encryption.renewed(before, bound_to=self._binding())
        return self.secret_token != before

    def verify_token(self, token: str) -> bool:
        """Whether this is the app's code, or one of the recovery codes. Neither is taken twice.

        Refused without a look while too many were wrong. Runs in a transaction with the row locked.
        """
        if not self.verify_is_allowed()[0]:
            return False
        code = token.replace(" ", "").replace("-", "").lower()
        is_right = self._is_from_the_app(code) if len(code) == self.CODE_LENGTH else self._is_for_recovery(code)
        if is_right:
            self.throttle_reset()
        else:
            self.throttle_increment()
        return is_right

    def _is_from_the_app(self, code: str) -> bool:
        if not (code.isascii() and code.isdigit()):
            return False
        totp = TOTP(self.secret(), step=self.STEP_S, digits=self.CODE_LENGTH)
        totp.time = time.time()
        if not totp.verify(int(code), tolerance=self.TOLERANCE, min_t=self.last_step + 1):
            return False
        self.last_step = totp.t()
        return True

    def _is_for_recovery(self, code: str) -> bool:
        if not code.isascii():
            return False
        digests = [RecoveryCode.digest_of(code, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]
        return self.recovery_codes.filter(digest__in=digests).delete()[0] > 0

    def wait_s(self) -> int:
        """In how many seconds the next code is looked at; 0 for now."""
        allowed, why = self.verify_is_allowed()
        return 0 if allowed else max(1, round((why["locked_until"] - timezone.now()).total_seconds()))

    def verify_is_allowed(self) -> tuple[bool, Any]:
        """Not at once after wrong codes: 1, 2, 4 … seconds, but five minutes at most, so that nobody is shut out."""
        allowed, why = super().verify_is_allowed()
        if allowed:
            return True, None
        locked_until = min(why["locked_until"], self.throttling_failure_timestamp + LONGEST_WAIT)
        return timezone.now() >= locked_until, why | {"locked_until": locked_until}

    def get_throttle_factor(self) -> float:
        return 1.0

    def _binding(self) -> list[str]:
        return ["second factor", str(self.user_id)]


class RecoveryCode(models.Model):
    """The digest of a code that stands in for the app once."""

    ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another when it is read from paper
    COUNT = 10
    LENGTH = 10

    authenticator = models.ForeignKey(Authenticator, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.BinaryField(max_length=32, editable=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"recovery code of {self.authenticator.user}"

    @classmethod
    def issue(cls, authenticator: Authenticator) -> list[str]:
        """New codes in the place of the old ones. They are stored nowhere."""
        codes = ["".join(secrets.choice(cls.ALPHABET) for _ in range(cls.LENGTH)) for _ in range(cls.COUNT)]
        authenticator.recovery_codes.all().delete()
        for code in codes:
            authenticator.recovery_codes.create(digest=cls.digest_of(code, pepper=settings.API_KEY_PEPPERS[0]))
        return codes

    @staticmethod
    def digest_of(code: str, *, pepper: str) -> bytes:
        return raw_key.digest(f"recovery {code}", pepper=pepper)


# ---- Tables of packages under names that people understand, each to be looked at and not to be changed.


class AuditEntry(LogEntry):
    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "change"
        verbose_name_plural = "audit log"


class Login(AccessLog):
    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "login"


class FailedLogin(AccessAttempt):
    class Meta:
        proxy = True
        default_permissions = ("view",)
        permissions = [("unlock_login", "Can unlock logins")]
        verbose_name = "failed login"

    def __str__(self) -> str:
        return f"{self.username} from {self.ip_address}"
