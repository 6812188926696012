"""How clients come to a server: certificates, invitations, enrollment, and the door in front of the SuperLink.

May import ``shared`` and ``app.engine``.
"""
