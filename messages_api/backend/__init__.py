"""Client for upstreams: translate a Messages request into an upstream's dialect, send it and read the response."""
