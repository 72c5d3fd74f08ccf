"""Archives: as many films as there are, read by as many processes and machines as there are, each film once.

A manifest lists the films. It is cut into shards of a fixed size; a shard is read by one process, which writes its
lines into one file and renames it when all are there. A shard with a file is done, whoever read it; so a driver or a
worker may be killed at any moment, and the same command goes on.
"""
