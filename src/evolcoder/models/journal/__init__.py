"""The journal: every reply of every model, durable before anything acts on it."""
