"""Audit log: who changed what, when and from which IP address."""
