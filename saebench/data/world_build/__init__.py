"""Builds the shipped world: `python -m saebench.data.world_build lm|saes|accept`."""
