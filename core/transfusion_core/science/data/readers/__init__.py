"""Readers: one per way in which people keep labelled images."""
