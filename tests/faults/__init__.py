"""Run of all upstream faults against the gateway."""
