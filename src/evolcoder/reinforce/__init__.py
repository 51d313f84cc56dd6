"""Learning from execution: a model answers tasks, the sandbox judges the answers, the verdicts train it."""
