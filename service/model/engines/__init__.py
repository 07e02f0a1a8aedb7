"""Run the network. Each engine is one module, imported only when it is chosen."""
