"""Language models, behind endpoints or in this process; the journal; the budget."""
