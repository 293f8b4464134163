"""Data: shards, their index, the epoch plan, and the join of samples with cached targets."""
