"""Pre-training a HuBERT from scratch."""
