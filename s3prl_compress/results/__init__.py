"""Result records: their schema, reading, writing, predictions."""
