"""Endpoints for an API key about itself: key info, usage and available models."""
