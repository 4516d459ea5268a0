"""Steps of `make run` on a new machine: secrets, database, static files, processes and first requests."""
