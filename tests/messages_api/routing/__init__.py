"""Tests of routes, circuit breakers and upstreams."""
