"""Ramp-shared multi-Krum among honest, harmful, lying, curious and dropping users."""
