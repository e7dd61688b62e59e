"""Calls the gRPC services of the store with the stubs that grpcio-tools makes."""
