"""What goes over the wire: frames in and out, HTTP bodies, and the carriers of an identity. Pure."""
