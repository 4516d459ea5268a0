"""Generated streams of both dialects, read by the official SDKs after they went through the gateway's core."""
