"""Access to the admin: roles, sign-in, two-factor authentication and the audit log."""
