"""Training data: synthetic people, licensed scans, and the one folder format for both. Inference never imports this package."""
