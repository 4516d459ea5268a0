"""Template tags of access and the audit log."""
