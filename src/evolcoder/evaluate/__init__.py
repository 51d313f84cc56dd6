"""Benchmarks: from a problem to a prompt, a program, a verdict and a score."""
