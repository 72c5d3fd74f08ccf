"""What a report looks like: the page, its figures, and small pictures of the worst films."""
