"""Two-factor authentication: required steps, setup, verification and recovery, by `ADMIN_TWO_FACTOR`."""

import io
from base64 import b32encode
from typing import Any, Literal
from urllib.parse import quote, urlencode

import django_otp
import qrcode
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from qrcode.image.svg import SvgPathFillImage

from audit import log
from staff.models import Authenticator, RecoveryCode

OFF, REQUIRED = "off", "required"  # the third value is "optional": users who have set it up are asked for a code
ISSUER = "messages-gateway"
AUDITED = "two-factor authentication"

Step = Literal["verify", "set up"]


def is_offered() -> bool:
    return settings.ADMIN_TWO_FACTOR != OFF


def is_required() -> bool:
    return settings.ADMIN_TWO_FACTOR == REQUIRED


def missing_step(user: Any) -> Step | None:
    """Return the step that a signed-in user must complete before any page is open; None if there is none."""
    if not is_offered() or not user.is_authenticated or getattr(user, "otp_device", None) is not None:
        return None
    if Authenticator.objects.filter(user=user, confirmed=True).exists():
        return "verify"
    return "set up" if is_required() else None


def authenticator_of(user: Any) -> Authenticator | None:
    """Return the user's authenticator, confirmed or not."""
    return Authenticator.objects.filter(user=user).first()


def verify(http_request: HttpRequest, code: str) -> bool:
    """Return whether the code is valid. If so, mark the session as verified and give it a new ID."""
    authenticator = authenticator_of(http_request.user)
    if authenticator is None or not _is_valid(authenticator, code):
        return False
    http_request.session.cycle_key()
    django_otp.login(http_request, authenticator)
    return True


def confirm(http_request: HttpRequest, code: str) -> list[str] | None:
    """Confirm the authenticator with its first valid code. Return new recovery codes, or None for an invalid code."""
    with transaction.atomic():
        authenticator = (
            Authenticator.objects.select_for_update().filter(user=http_request.user, confirmed=False).first()
        )
        if authenticator is None or not authenticator.verify_token(code):
            return None
        authenticator.confirmed = True
        authenticator.save(update_fields=["confirmed"])
        codes = RecoveryCode.issue(authenticator)
        log.record(authenticator.user, {AUDITED: ["off", "on"]})
    http_request.session.cycle_key()
    django_otp.login(http_request, authenticator)
    return codes


def renew_recovery_codes(user: Any, code: str) -> list[str] | None:
    """Replace the recovery codes. Return the new ones, or None for an invalid code."""
    authenticator = authenticator_of(user)
    if authenticator is None or not _is_valid(authenticator, code):
        return None
    with transaction.atomic():
        codes = RecoveryCode.issue(authenticator)
        log.record(user, {"recovery codes": ["set", "set"]})
    return codes


def disable(user: Any, code: str) -> bool:
    """Disable two-factor authentication of a user if the code is valid. Return whether it was."""
    authenticator = authenticator_of(user)
    if authenticator is None or not _is_valid(authenticator, code):
        return False
    reset(user)
    return True


def reset(user: Any) -> bool:
    """Disable two-factor authentication of a user without a code. Return whether it was set up."""
    with transaction.atomic():
        found, _ = Authenticator.objects.filter(user=user).delete()
        if found:
            log.record(user, {AUDITED: ["on", "off"]})
    return bool(found)


def setup_key(authenticator: Authenticator) -> str:
    """Return the secret for typing into an app: base32 in groups of four."""
    text = b32encode(authenticator.secret()).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def qr_code(authenticator: Authenticator) -> bytes:
    """Return the secret as an SVG QR code (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    label = quote(f"{ISSUER}:{authenticator.user.get_username()}")
    query = urlencode({"secret": b32encode(authenticator.secret()).decode(), "issuer": ISSUER})
    image = io.BytesIO()
    qrcode.make(f"otpauth://totp/{label}?{query}", image_factory=SvgPathFillImage, box_size=10).save(image)
    return image.getvalue()


def _is_valid(authenticator: Authenticator, code: str) -> bool:
    return django_otp.verify_token(authenticator.user, authenticator.persistent_id, code) is not None
