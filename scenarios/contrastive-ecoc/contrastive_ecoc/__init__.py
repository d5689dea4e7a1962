"""Scenario: contrastive output codes learned across clients."""
