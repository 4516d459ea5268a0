"""Key requests: asking, withdrawing, deciding and revealing, and their notifications."""
