"""The lumbar spine on sagittal MR: discs found, and named from the sacrum upward."""
