"""Admin of API keys: list, detail pages, bulk actions and CSV import."""
