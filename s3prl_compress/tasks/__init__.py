"""Corpora on disk: layouts, checks, and bringing recordings into them."""
