"""Envoy's ext_authz over gRPC: the service `envoy.service.auth.v3.Authorization`."""
