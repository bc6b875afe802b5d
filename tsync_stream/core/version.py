"""The version of this release: the package's metadata and everything that shows it take it from here."""

__version__ = "0.1.0"
