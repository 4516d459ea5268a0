"""Management commands of access and the audit log."""
