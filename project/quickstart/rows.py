"""Initial rows of an installation: an admin, an API key, an upstream and its route.

A repeated run keeps existing rows. Only the base URL and the credential of these upstreams follow the environment.
"""

import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone

from keys.domain import raw_key
from keys.models import APIKey, ModelPrice
from messages_api.models import Dialect, Route, Upstream
from project.quickstart.errors import CannotStart

ADMIN = "admin"
FIRST_KEY = "first key"
CHECK_KEY = "make run"
NO_EXPIRY_REASON = "created by make run for this machine"
CHECK_LIFETIME = timedelta(minutes=5)
PRICE_SOURCE = "make run: runs on this machine"

LOCAL = "local-model"
LOCAL_ANTHROPIC = "local-model-anthropic"
GIVEN = "upstream"
OURS = (LOCAL, LOCAL_ANTHROPIC, GIVEN)


def ensure_admin() -> tuple[User, str | None]:
    """Return the first active admin and None, or a new admin and a random password, which is stored nowhere."""
    admin = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if admin is not None:
        return admin, None
    password = secrets.token_urlsafe(12)
    try:
        return User.objects.create_superuser(ADMIN, password=password), password
    except IntegrityError as error:
        raise CannotStart(
            f"The user {ADMIN} is not an active admin. Create one: .venv/bin/python manage.py createsuperuser"
        ) from error


def ensure_first_key(owner: User) -> str | None:
    """Return the raw key of a new API key, or None if a usable one exists under the current peppers."""
    current = [raw_key.pepper_id(pepper) for pepper in settings.API_KEY_PEPPERS]
    if APIKey.objects.active().filter(secrets__pepper_id__in=current).exclude(name=CHECK_KEY).exists():
        return None
    _, raw = APIKey.objects.issue(name=FIRST_KEY, owner=owner, no_expiry_reason=NO_EXPIRY_REASON)
    return raw


def issue_check_key(owner: User) -> str:
    """Return a raw key for the requests of a later run, when the first one is no longer known. Expires in five minutes.

    It is a new secret of one API key, so that many runs do not fill the list of keys.
    """
    key = APIKey.objects.active().filter(name=CHECK_KEY, owner=owner).first()
    if key is None:
        # The raw key of this secret is discarded.
        key, _ = APIKey.objects.issue(name=CHECK_KEY, owner=owner, no_expiry_reason=NO_EXPIRY_REASON)
    _, raw = key.secrets.issue(expires_at=timezone.now() + CHECK_LIFETIME)
    return raw


def register_local_model(base_url: str, *, model: str) -> None:
    """Route every model name to the embedded model, and its own name in both dialects. It is free."""
    local = _register(LOCAL, dialect=Dialect.OPENAI, base_url=base_url)
    native = _register(LOCAL_ANTHROPIC, dialect=Dialect.ANTHROPIC, base_url=base_url)
    _point("*", to=local, model=model)
    _point(model, to=local, model=model)
    _point(f"{model}-anthropic", to=native, model=model)
    for upstream in (local, native):
        _mark_as_free(model, at=upstream)


def register_given(base_url: str, *, dialect: str, credential: str, model: str) -> None:
    """Route every model name to the upstream of the environment, and disable the embedded model."""
    given = _register(GIVEN, dialect=dialect, base_url=base_url, credential=credential)
    _point("*", to=given, model=model)
    for local in Upstream.objects.filter(name__in=(LOCAL, LOCAL_ANTHROPIC), enabled=True):
        local.enabled = False
        local.save(update_fields=["enabled"])  # not by a query, which the audit log does not see


def _mark_as_free(model: str, *, at: Upstream) -> None:
    """Add a free price for the model at this upstream, so that its cost is $0.00, unless it has a price there."""
    if not ModelPrice.objects.filter(model_pattern=model, upstream=at.name).exists():
        ModelPrice.objects.create(model_pattern=model, upstream=at.name, is_free=True, source=PRICE_SOURCE)


def _register(name: str, *, dialect: str, base_url: str, credential: str = "") -> Upstream:
    upstream = Upstream.objects.filter(name=name).first() or Upstream(name=name)
    upstream.dialect, upstream.base_url, upstream.enabled = dialect, base_url, True
    if upstream.endpoint().credential != credential:  # otherwise each start would set a new date
        upstream.set_credential(credential)
    try:
        upstream.full_clean()
    except ValidationError as error:
        raise CannotStart("; ".join(_sentences(error))) from error
    upstream.save()
    return upstream


def _sentences(error: ValidationError) -> list[str]:
    variables = {"base_url": "UPSTREAM_URL", "dialect": "UPSTREAM_DIALECT"}
    return [f"{variables.get(field, field)}: {' '.join(messages)}" for field, messages in error.message_dict.items()]


def _point(pattern: str, *, to: Upstream, model: str) -> None:
    """Make this the only target of a route, unless an operator has added another target."""
    route, _ = Route.objects.get_or_create(pattern=pattern)
    if route.targets.exclude(upstream__name__in=OURS).exists():
        return
    route.targets.exclude(upstream=to, model=model).delete()
    route.targets.get_or_create(upstream=to, model=model)
