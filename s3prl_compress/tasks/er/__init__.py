"""Emotion recognition."""
