"""Delivery of notifications by e-mail and webhook."""
