"""Helpers that no app owns: time, money, networks, threads, caches, encryption and the admin's building blocks."""
