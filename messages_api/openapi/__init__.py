"""OpenAPI description of the envelope API, the Anthropic API and the API key endpoints, and its documentation page."""
