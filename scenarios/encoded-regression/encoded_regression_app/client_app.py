"""A worker: stores its share, multiplies; lies or is late where the run configuration says so."""

from flower_coded.clients.encoded_gd import encoded_gd_client_app

app = encoded_gd_client_app()
