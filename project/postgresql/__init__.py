"""Database backend for PostgreSQL with deadlines."""
