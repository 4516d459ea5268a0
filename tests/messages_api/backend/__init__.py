"""Tests of the client for upstreams."""
