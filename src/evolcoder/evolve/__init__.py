"""Evolution: instructions become harder ones, answered, cleaned, and checked."""
