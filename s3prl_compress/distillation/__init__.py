"""Training a student to reproduce its teacher's hidden states."""
