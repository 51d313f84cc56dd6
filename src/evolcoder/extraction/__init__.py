"""From a model's answer to the program that is judged."""
