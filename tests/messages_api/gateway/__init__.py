"""Tests of requests over real HTTP, with a scripted upstream."""
