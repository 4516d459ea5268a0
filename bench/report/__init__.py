"""Reports: medians, ratios within a round, targets, as text and Markdown."""
