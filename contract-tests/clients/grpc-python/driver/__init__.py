"""Calls the gRPC services with the stubs of grpcio-tools."""
