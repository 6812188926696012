"""What pages see without asking: who watches, what changed, and how often they are told."""
