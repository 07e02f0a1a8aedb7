"""The engines that run the network. Each is one module, imported only when chosen."""
