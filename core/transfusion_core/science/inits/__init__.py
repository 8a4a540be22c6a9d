"""Initialisations: how a network's weights start, and a report of what became of each tensor."""
