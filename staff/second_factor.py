"""Whether somebody who has given a password has to give a code too, by `ADMIN_TWO_FACTOR`."""

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

OFF, REQUIRED = "off", "required"  # else optional: who has set it up is asked
ISSUER = "messages-gateway"

Step = Literal["verify", "set up"]


def is_offered() -> bool:
    return settings.ADMIN_TWO_FACTOR != OFF


def is_required() -> bool:
    return settings.ADMIN_TWO_FACTOR == REQUIRED


def missing_step(user: Any) -> Step | None:
    """What somebody who is signed in has still to do before any page is open to them."""
    if not is_offered() or not user.is_authenticated or getattr(user, "otp_device", None) is not None:
        return None
    if Authenticator.objects.filter(user=user, confirmed=True).exists():
        return "verify"
    return "set up" if is_required() else None


def of(user: Any) -> Authenticator | None:
    """The user's authenticator, confirmed or not."""
    return Authenticator.objects.filter(user=user).first()


def verify(http_request: HttpRequest, code: str) -> bool:
    """Whether the code is right. Then the session counts as verified, under a new id."""
    authenticator = of(http_request.user)
    if authenticator is None or not _is_right(authenticator, code):
        return False
    http_request.session.cycle_key()
    django_otp.login(http_request, authenticator)
    return True


def confirm(http_request: HttpRequest, code: str) -> list[str] | None:
    """With the first right code the authenticator counts. Return its recovery codes, or None."""
    with transaction.atomic():
        authenticator = (
            Authenticator.objects.select_for_update().filter(user=http_request.user, confirmed=False).first()
        )
        if authenticator is None or not authenticator.verify_token(code):
            return None
        authenticator.confirmed = True
        authenticator.save(update_fields=["confirmed"])
        codes = RecoveryCode.issue(authenticator)
        log.note(authenticator.user, {"second factor": [None, "set up"]})
    http_request.session.cycle_key()
    django_otp.login(http_request, authenticator)
    return codes


def renew_recovery_codes(user: Any, code: str) -> list[str] | None:
    """New recovery codes for a right code, or None."""
    authenticator = of(user)
    if authenticator is None or not _is_right(authenticator, code):
        return None
    with transaction.atomic():
        codes = RecoveryCode.issue(authenticator)
        log.note(user, {"recovery codes": ["set", "set"]})
    return codes


def remove(user: Any, code: str) -> bool:
    """Whether the code was right, and the second factor is gone."""
    authenticator = of(user)
    if authenticator is None or not _is_right(authenticator, code):
        return False
    reset(user)
    return True


def reset(user: Any) -> bool:
    """Whether there was a second factor to take away."""
    with transaction.atomic():
        found, _ = Authenticator.objects.filter(user=user).delete()
        if found:
            log.note(user, {"second factor": ["set up", None]})
    return bool(found)


def setup_key(authenticator: Authenticator) -> str:
    """The secret as people type it into an app: groups of four."""
    text = b32encode(authenticator.secret()).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def qr_code(authenticator: Authenticator) -> bytes:
    """The same for an app's camera, as SVG (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    label = quote(f"{ISSUER}:{authenticator.user.get_username()}")
    query = urlencode({"secret": b32encode(authenticator.secret()).decode(), "issuer": ISSUER})
    image = io.BytesIO()
    qrcode.make(f"otpauth://totp/{label}?{query}", image_factory=SvgPathFillImage, box_size=10).save(image)
    return image.getvalue()


def _is_right(authenticator: Authenticator, code: str) -> bool:
    return django_otp.verify_token(authenticator.user, authenticator.persistent_id, code) is not None
