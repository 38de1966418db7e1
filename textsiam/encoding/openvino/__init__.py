"""The twin as a graph that OpenVINO compiles, on CPUs and without torch."""
