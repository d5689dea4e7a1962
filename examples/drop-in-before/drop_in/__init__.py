"""A small Flower project: handwritten digits, learned across clients."""
