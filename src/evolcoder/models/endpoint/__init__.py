"""A model behind OpenAI-compatible addresses: requests, limits, retries, prices, batches."""
