"""A model judges answers: side by side with another model's, or alone from 1 to 10."""
