"""Recipes: tasks at official and smoke settings, whole suites, the generated demo corpus."""
