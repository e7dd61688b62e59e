"""Drives the client that openapi-python-client makes through the journey."""
