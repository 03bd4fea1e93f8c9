"""The door between the halves: one ResNe(X)t trunk, its names, its artifact and its certificate."""
