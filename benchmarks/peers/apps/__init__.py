"""What each peer runs. Of other packages there is what its environment has."""
