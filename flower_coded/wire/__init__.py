"""What the two sides of Flower say to each other, below both.

:mod:`~flower_coded.wire.keys` spells the record keys that several systems share, one module per system its
own keys and messages; :mod:`~flower_coded.wire.array_reading` and :mod:`~flower_coded.wire.validation` read
what an unknown sender sent; :mod:`~flower_coded.wire.model_state` turns a model's state into a record or a
vector and back. Nothing is imported here: a client process loads only the messages of its own system.
"""
