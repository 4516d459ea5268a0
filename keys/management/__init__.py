"""Commands that issue, list, rotate and revoke keys and check usage."""
