"""Questions about usage: their grammar in URLs, the records that they count, and their results."""
