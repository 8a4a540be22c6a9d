"""Trained networks in forms that others run: each is run before it is handed out, against the network itself."""
