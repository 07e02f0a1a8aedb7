"""The Open Inference Protocol over gRPC; imported only if it is served."""
