"""Serving: gunicorn, the worker, the application, health and periodic tasks."""
