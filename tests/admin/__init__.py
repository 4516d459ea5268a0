"""Tests of the admin through the Django test client."""
