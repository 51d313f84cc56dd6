"""DS-1000: data science problems judged in an environment of their own (arXiv 2211.11501)."""
