"""The outbox: notifications that wait to be sent by e-mail and webhook."""

from django.db import models


class Notification(models.Model):
    """An e-mail and webhook message. Written in the transaction of its cause, so that none is lost."""

    dedup_key = models.CharField(
        max_length=100, unique=True, help_text="Identifies the cause. One notification is sent per cause."
    )
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    recipients = models.JSONField(default=list)
    data = models.JSONField(default=dict, help_text="Payload of the webhook.")
    created_at = models.DateTimeField(auto_now_add=True)
    emailed_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_error = models.CharField(max_length=200, blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["next_attempt_at"], name="notification_open", condition=models.Q(done_at=None))]

    def __str__(self) -> str:
        return self.subject
