"""Explorer of usage records: the list with its filters, columns and histogram, and the page of a request."""
