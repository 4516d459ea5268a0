"""WSGI entry point."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup(set_prefix=False)

from project.server.application import Application  # noqa: E402  # its modules need the loaded apps

application = Application()
