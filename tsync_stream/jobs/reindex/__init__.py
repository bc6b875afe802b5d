"""A reindex: a second collection of a route is filled and compared, and only then shown."""
