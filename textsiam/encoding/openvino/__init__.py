"""The OpenVINO backend: the model as a graph that OpenVINO compiles, for CPUs, without torch."""
