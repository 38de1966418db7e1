"""The PyTorch backend, for training and inference."""
