"""The package's version, in a module of its own so that building needs no dependency."""

__version__ = "0.2.0"
