"""Imported by the fork server alone, for what it leaves in memory: each child would have to read it anew.

The one module that does something when it is imported; that is all that a fork server can be asked for.
"""

from transfusion_core.specs.model import catalogue

catalogue()
