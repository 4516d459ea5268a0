"""Building blocks of the admin that every app shares: base classes, lists, filters, cells and page rendering."""
