"""A film without its patient: a new file of what is on a whitelist, with pseudonyms by a keyed hash.

Nothing is taken out of the file; a new one is made, of attributes that are named in ``whitelist`` and of values that
can be checked there. What is not named cannot get through: private attributes, free text, overlays, what stands before
or behind the data set, or in the compressed pixels' comments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fracture._lazy import lazy_names

if TYPE_CHECKING:
    from fracture.deidentification.film import deidentify as deidentify, save as save
    from fracture.deidentification.header import deidentify_header as deidentify_header
    from fracture.deidentification.rules import Rules as Rules, read_key as read_key

lazy_names(globals())
