"""MultiPL-E: HumanEval and MBPP in other languages (Cassano et al. 2022, arXiv 2208.08227)."""
