"""Models of admin access: roles, authenticators, and views of the audit log and of logins."""

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

MAX_THROTTLE = timedelta(minutes=5)


class Role(models.Model):
    """A group that ships with the gateway, with the permissions that releases granted. Each is granted once."""

    name = models.CharField(max_length=150, unique=True)
    group = models.OneToOneField(Group, on_delete=models.SET_NULL, null=True, related_name="+")
    granted_permissions = models.JSONField(default=list)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class Authenticator(ThrottlingMixin, Device):
    """An authenticator app (TOTP, RFC 6238) with recovery codes.

    The devices of django-otp store their secrets in plain text. This one encrypts the secret of the app and stores
    digests of the recovery codes.
    """

    STEP_S = 30
    CODE_LENGTH = 6
    TOLERANCE = 1
    """Accepted steps before and after the current one, for clocks that differ."""

    secret_token = models.TextField(editable=False)
    last_step = models.BigIntegerField(default=-1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user"], name="one_authenticator_per_user")]

    @classmethod
    def start(cls, user: Any) -> "Authenticator":
        """Create an unconfirmed authenticator with a new secret. It replaces an unconfirmed one.

        Raise IntegrityError if the user has a confirmed one.
        """
        cls.objects.filter(user=user, confirmed=False).delete()
        started = cls(user=user, name="Authenticator app", confirmed=False)
        started.secret_token = encryption.encrypt(random_hex(20), bound_to=started._binding())
        started.save()
        return started

    def secret(self) -> bytes:
        """Return the secret shared with the app. Raise CredentialUnreadable if the encryption keys changed."""
        return bytes.fromhex(encryption.decrypt(self.secret_token, bound_to=self._binding()))

    def renew_encryption(self) -> bool:
        """Encrypt the secret with the first key and return whether it changed. Raise CredentialUnreadable."""
        before = self.secret_token
        self.secret_token = encryption.renewed(before, bound_to=self._binding())
        return self.secret_token != before

    def verify_token(self, token: str) -> bool:
        """Return whether this is a valid code of the app or a recovery code. Each is accepted once.

        While throttled, no code is valid. Must run in a transaction with the row locked.
        """
        if not self.verify_is_allowed()[0]:
            return False
        code = token.replace(" ", "").replace("-", "").lower()
        is_valid = self._is_app_code(code) if len(code) == self.CODE_LENGTH else self._is_recovery_code(code)
        if is_valid:
            self.throttle_reset()
        else:
            self.throttle_increment()
        return is_valid

    def _is_app_code(self, code: str) -> bool:
        if not (code.isascii() and code.isdigit()):
            return False
        totp = TOTP(self.secret(), step=self.STEP_S, digits=self.CODE_LENGTH)
        totp.time = time.time()
        if not totp.verify(int(code), tolerance=self.TOLERANCE, min_t=self.last_step + 1):
            return False
        self.last_step = totp.t()
        return True

    def _is_recovery_code(self, code: str) -> bool:
        if not code.isascii():
            return False
        digests = [RecoveryCode.digest_of(code, pepper=pepper) for pepper in settings.API_KEY_PEPPERS]
        return self.recovery_codes.filter(digest__in=digests).delete()[0] > 0

    def wait_s(self) -> int:
        """Return the seconds until the next code is checked; 0 if there is no throttling."""
        allowed, why = self.verify_is_allowed()
        return 0 if allowed else max(1, round((why["locked_until"] - timezone.now()).total_seconds()))

    def verify_is_allowed(self) -> tuple[bool, Any]:
        """Throttle after invalid codes: 1, 2, 4 … seconds, but at most five minutes, so that no user is locked out."""
        allowed, why = super().verify_is_allowed()
        if allowed:
            return True, None
        locked_until = min(why["locked_until"], self.throttling_failure_timestamp + MAX_THROTTLE)
        return timezone.now() >= locked_until, why | {"locked_until": locked_until}

    def get_throttle_factor(self) -> float:
        return 1.0

    def _binding(self) -> list[str]:
        return ["authenticator", str(self.user_id)]


class RecoveryCode(models.Model):
    """Digest of a code that replaces the code of the app once."""

    ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no characters that are confused on paper
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
        """Create new codes in place of the old ones and return them. They are stored nowhere."""
        codes = ["".join(secrets.choice(cls.ALPHABET) for _ in range(cls.LENGTH)) for _ in range(cls.COUNT)]
        authenticator.recovery_codes.all().delete()
        for code in codes:
            authenticator.recovery_codes.create(digest=cls.digest_of(code, pepper=settings.API_KEY_PEPPERS[0]))
        return codes

    @staticmethod
    def digest_of(code: str, *, pepper: str) -> bytes:
        return raw_key.digest(f"recovery {code}", pepper=pepper)


# ---- Tables of packages under the names that the admin shows. They are read-only.


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
