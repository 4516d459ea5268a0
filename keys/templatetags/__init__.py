"""Template filters for figures, times and badges."""
