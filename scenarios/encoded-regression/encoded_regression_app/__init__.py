"""Regression by encoded gradient descent, workers that lie included."""
