"""The `hubert_demo_ctc` upstream: `hubert_demo`, fine-tuned to recognise speech."""
