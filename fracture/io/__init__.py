"""From a file, bytes, an array or a data set to a ``Radiograph``. Start with :func:`fracture.io.reading.read`."""
