"""A catalog of bad requests with the expected responses."""
