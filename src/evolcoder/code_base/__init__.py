"""Seeds and a private benchmark from a user's own code base."""
