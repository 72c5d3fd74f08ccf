"""A server for one machine: films in over HTTP, results out, and a page where one drops films.

An upload and its job are on the disk before it is answered (:mod:`fracture.jobs`), so that the server may be killed at
any moment: after its restart the jobs go on, and clients find their results again. ``fracture serve`` runs it;
docs/server.md is for whoever uses it. Needs the extra ``serve``.

1. ``guard``: who may ask, from where, and how often.
2. ``films``: the upload is kept, its job added.
3. ``crew``: a process of its own (``worker``) reads film after film, and is started again where it dies.
4. ``readings``: what all wings say of a film becomes files; ``films`` hands them out until they expire.
5. ``app``: the routes; ``page``: what a browser gets.
"""
