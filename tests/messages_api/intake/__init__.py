"""Tests of request bodies, headers and their validation."""
