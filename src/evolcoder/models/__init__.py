"""Models that complete requests: behind endpoints or in this process; the journal; what they may spend."""
