"""Task declarations, settings, corpora and engine jobs that all tasks share."""
