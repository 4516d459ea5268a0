from django import template
from django.db.models import Model

from audit import log

register = template.Library()


@register.simple_tag
def history_of(instance: Model) -> list[log.Entry]:
    """The latest changes of an object, for its history page."""
    return log.history_of(instance)
