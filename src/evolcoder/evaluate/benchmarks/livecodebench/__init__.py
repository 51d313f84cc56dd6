"""LiveCodeBench: contest problems with their dates, so that a model can be asked what it has not seen."""
