"""A model in this process: weights, decoding, sampling, copies in other processes."""
