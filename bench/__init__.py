"""Measurements. Each module says at its top what it measures, how, and what the figure should be."""
