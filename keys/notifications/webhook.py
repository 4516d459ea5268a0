"""Delivery of a notification to the webhook, in the Standard Webhooks format."""

import json
import time

import requests
from django.conf import settings

from keys.models import Notification
from lib import webhook_signatures


def post(notification: Notification, *, timeout_s: float) -> str:
    """Post a notification. Return why it failed, or an empty text. The ID is the same in each attempt."""
    body = json.dumps(
        {
            "type": notification.kind,
            "timestamp": notification.created_at.isoformat(),
            "data": {"subject": notification.subject, **notification.data},
        }
    ).encode()
    headers = webhook_signatures.headers(
        notification.dedup_key, int(time.time()), body, secrets=settings.ALERT_WEBHOOK_SECRETS
    )
    headers |= {"Content-Type": "application/json", "User-Agent": "messages-gateway"}
    try:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(
                settings.ALERT_WEBHOOK_URL, body, headers=headers, timeout=timeout_s, allow_redirects=False
            )
    except (requests.RequestException, ValueError) as error:  # ValueError: an unusable secret or ID
        return f"webhook: {type(error).__name__}"
    return "" if response.ok else f"webhook: status {response.status_code}"
