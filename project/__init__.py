"""The Django project: settings, checks, URLs, server, admin site and quickstart."""
