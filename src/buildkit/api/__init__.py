"""Wire types, generated from the .proto files beside this module by ``make api``."""
