"""Admin site: pages, overview and attention items."""
