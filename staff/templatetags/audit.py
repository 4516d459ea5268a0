from django import template
from django.db.models import Model

from audit import log as audit

register = template.Library()


@register.simple_tag
def history_of(instance: Model) -> list[audit.Entry]:
    """The latest changes of an object, for its history page."""
    return audit.history_of(instance)
