"""Routing: which targets serve a model, and which of them are healthy."""
