"""Flower client side: honest, poisoning and Byzantine behaviour, as ClientApp parts and as mods."""

__all__: list[str] = []
