"""Tests of the translation between the APIs."""
