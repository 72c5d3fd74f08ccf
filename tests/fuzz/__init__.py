"""Damaged inputs of every kind that the library reads; ``benchmarks/fuzz.py`` runs many, the tests a few."""
