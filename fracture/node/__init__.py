"""A DICOM node that never loses a film: it receives, reads, sends the results on, and tells of positive studies.

A film is acknowledged when it and its job are on the disk; from there a worker reads it, a sender delivers what came
of it, and each step is a job of :mod:`fracture.jobs`, so that a process may be killed between any two of them.
``fracture node`` runs it; docs/node.md is for whoever runs it in a hospital. Needs the extra ``node``.
"""
