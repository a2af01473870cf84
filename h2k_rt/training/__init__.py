"""Training in PyTorch: losses and schedule as published. Needs torch (extra ``train``); inference never imports this package."""
