"""Status of upstreams: circuits and their history, rate limits of providers, figures."""
