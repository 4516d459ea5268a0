"""Load: the mock upstream, the clients, and the checks of what they receive."""
