"""Annotated films: readers, checks, splits, sampling, augmentation and targets for training."""
