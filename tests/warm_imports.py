"""What a warm process has imported before it is forked (see ``tests.warm``); nothing here may start a thread."""

import importlib

for name in (
    "albumentations",
    "fracture.cli",
    "fracture.detector",
    "fracture.training.loop",
    "fracture.training.run",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.metrics",
    "torch._dynamo",  # by an optimizer's first step
):
    importlib.import_module(name)
