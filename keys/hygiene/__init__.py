"""Key hygiene: conditions of API keys, checks with recommendations, findings and the weekly notification."""
