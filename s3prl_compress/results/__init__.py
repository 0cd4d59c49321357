"""Result records: their schema, reading, writing, predictions.

All modules are public and are imported by name: `environment`, `records`,
`predictions` and `versions`.
"""
