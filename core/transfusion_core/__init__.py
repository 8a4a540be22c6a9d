"""The shared core of Transfusion: specs, errors, settings, database, store, queue, science and reporting."""

__version__ = "0.1.0"
