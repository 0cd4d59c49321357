"""Phoneme recognition."""
