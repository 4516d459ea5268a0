"""The ledger: usage records, hourly rollups and budgets, written by one group-commit thread per process."""
