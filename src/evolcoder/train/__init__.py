"""Fine-tuning: masks, packing, the training loop, checkpoints."""
