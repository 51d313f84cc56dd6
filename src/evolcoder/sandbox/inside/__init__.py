"""What runs inside the container; sent there as source, standard library only."""
