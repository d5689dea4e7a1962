"""A user: trains, then takes part in the protocol, or deviates where the run configuration says so."""

from flower_coded.clients import training_client_app
from flower_coded.clients.ramp_krum_experiments import deviating_ramp_krum_mod

app = training_client_app(mods=[deviating_ramp_krum_mod])
