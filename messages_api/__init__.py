"""The Messages API: request intake, gateway, routing, upstreams and API formats."""
