"""The inference protocols of other servers, without the transport they come over."""
