"""Result records: their schema, reading, writing, predictions.

All modules are public and are imported by name: `records`, `predictions` and `versions`.
"""
