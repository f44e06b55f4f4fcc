"""What `relay catalog --asyncapi` writes, judged by the AsyncAPI project's own parser."""
