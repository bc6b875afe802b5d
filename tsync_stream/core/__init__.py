"""What every room may use. The package's metadata and everything that shows the version take it from here."""

__version__ = "0.1.0"
