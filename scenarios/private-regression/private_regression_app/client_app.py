"""A worker: keeps its share and computes; lies or stays silent where the run configuration says so."""

from flower_coded.clients.robust_alcc import robust_alcc_client_app

app = robust_alcc_client_app()
