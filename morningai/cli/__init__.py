"""The command line: a gRPC client of the gateway like any other, and the start of the embedded platform."""
