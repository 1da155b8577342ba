"""Judges: readers that explain a latent from contexts and say where it should fire."""
