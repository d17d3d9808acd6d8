"""Training on turn rows: rewards, credit, micro-batches, SFT and GRPO (method, sections 3 and 5)."""
