"""Who asks, and what they may: the operator's token, sessions, login codes, hosts and origins. Knows no Flask."""
