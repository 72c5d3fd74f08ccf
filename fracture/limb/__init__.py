"""A wing: fractures of the limbs found on one radiograph. Start with :func:`.detector.load`."""
