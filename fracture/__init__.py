"""fracture: find fractures on radiographs."""

from fracture._version import __version__ as __version__
