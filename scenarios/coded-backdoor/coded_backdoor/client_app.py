"""Twelve users: honest ones train, attackers poison their images first (see the run configuration)."""

from flower_coded.clients import training_client_app

app = training_client_app()
