"""Template tag for the history of an object."""

from django import template
from django.db.models import Model

from audit import log

register = template.Library()


@register.simple_tag
def history_of(instance: Model) -> list[log.Entry]:
    """Return the latest changes of an object."""
    return log.history_of(instance)
