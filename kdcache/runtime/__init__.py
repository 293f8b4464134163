"""What every long run needs: its place in a world of processes, a log, a progress bar, a way to stop."""
