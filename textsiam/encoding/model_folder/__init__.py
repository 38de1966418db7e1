"""The model folder: its content, its layout, where it is found, and the hashes of its files."""
