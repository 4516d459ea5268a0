"""Rate and concurrency limits of keys and teams: token buckets and slots, in Redis or in the process."""
