"""The inference protocols of other servers, independent of the transport."""
