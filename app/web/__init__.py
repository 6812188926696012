"""The dashboard: REST, Socket.IO and pages over storage and control. The only place of Flask; no torch, no flwr."""
