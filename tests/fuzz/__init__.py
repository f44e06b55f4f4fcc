"""Requests that no sender would write, at a gateway behind a real socket: nothing may crash, hang or leak."""
