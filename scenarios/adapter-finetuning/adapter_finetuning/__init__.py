"""Adapters of a pretrained network, learned by users of whom some poison them."""
