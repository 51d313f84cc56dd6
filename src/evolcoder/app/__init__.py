"""The app: chat, data, problems, a live run and blind review, in a browser on this machine."""
