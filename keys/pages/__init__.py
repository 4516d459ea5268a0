"""Admin views of API keys and usage that Django's ModelAdmin does not provide."""
