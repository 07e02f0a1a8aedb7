"""The measurements behind every published figure."""
