"""Forms and form fields of the admin pages that issue, edit, rotate, revoke and import API keys."""
