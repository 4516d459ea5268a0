"""What `make run` does on a bare machine, one noun a module: secrets file, rows, pages, processes, first calls."""
