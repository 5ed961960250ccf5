"""Trainable preference models: P(answer i beats answer j | prompt) from a causal language model with a small head."""
