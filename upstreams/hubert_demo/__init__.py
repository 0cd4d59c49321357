"""The `hubert_demo` upstream: a small HuBERT whose weights come with the package."""
