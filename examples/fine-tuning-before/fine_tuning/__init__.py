"""A small Flower project: adapters of a pretrained network, fine-tuned across clients."""
