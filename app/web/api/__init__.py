"""REST under /api/v1: one file a subject; every body, in and out, is described in the OpenAPI document."""
