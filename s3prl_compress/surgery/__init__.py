"""Cutting, rebuilding and counting an encoder: units, selections, gates, budgets."""
