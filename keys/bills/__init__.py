"""Bills of providers: import, reconciliation with the usage records, causes of differences."""
