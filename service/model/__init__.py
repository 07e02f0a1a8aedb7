"""The model: its files, its versions and the engines that run the network."""
