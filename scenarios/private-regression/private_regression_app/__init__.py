"""Linear regression on a table that nobody but its owner sees, computed by workers of whom some lie."""
