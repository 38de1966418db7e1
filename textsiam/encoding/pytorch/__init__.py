"""The twin in PyTorch, for training and inference."""
