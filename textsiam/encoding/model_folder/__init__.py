"""The model folder: what it says, how it is laid out, where it is found, and whether its files are as they were."""
