"""Runs the journey with the client of openapi-python-client."""
