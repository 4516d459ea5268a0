"""Access control of the API: authentication, authorization, cached snapshots and throttling of invalid keys."""
