"""The gateway: one request from admission through attempts and stream to settlement."""
