"""Pages of the admin that are no list or form of a model."""
