"""Tests of the admin in Chromium."""
