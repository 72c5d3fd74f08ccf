"""Statistics on arrays: estimates, intervals, resampling, scores, curves, agreement, tests. No files, no boxes."""
