"""Synthetic people to learn from: bodies, clothes, light and cameras, without a licence or a scan. Needs the extra ``people``."""
